"The atlas for the tests, built once for all of their processes, and while other tests run."
import os
import subprocess
import sys
import time
from pathlib import Path

SHARED = Path(os.environ['GENOPT_TESTS'])
STATUS = SHARED/'atlas status'
LIMIT = 600  # seconds that a test waits for it
_building = []


def begin():
    "In whichever process is first."
    try: (SHARED/'atlas begun').mkdir()
    except FileExistsError: return
    with open(SHARED/'atlas log', 'wb') as log:
        _building.append(subprocess.Popen([sys.executable, __file__], stdout=log, stderr=log))


def finished():
    "Its folder, when it is there."
    end = time.monotonic() + LIMIT
    while not (STATUS.exists() and (status := STATUS.read_text())):
        assert time.monotonic() < end, 'the atlas is not finished'
        time.sleep(.2)
    assert status == '0', (SHARED/'atlas log').read_text()
    return SHARED/'atlas'


if __name__ == '__main__':
    command = [sys.executable, '-m', 'genopt', 'atlas', '--out', SHARED/'atlas']
    STATUS.write_text(str(subprocess.call(command)))

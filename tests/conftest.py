import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

_cache = tempfile.TemporaryDirectory(prefix='genopt-tests-')  # lives as long as this module
os.environ['GENOPT_CACHE'] = _cache.name

"Promise: what was searched for is found on disk, and a damaged file is no more than a new search."
from genopt.study import kept as module
from genopt.study.kept import kept


def test_it_is_found_once(tmp_path, monkeypatch):
    monkeypatch.setenv('GENOPT_CACHE', str(tmp_path))
    calls = []
    def find(): calls.append(1); return ['what was', len(calls)]
    assert kept('it', find) == kept('it', find) == ['what was', 1] and len(calls) == 1
    assert kept('other', find) == ['what was', 2]
    path, = tmp_path.glob('*-it')
    path.write_bytes(path.read_bytes()[:5])
    assert kept('it', find) == kept('it', find) == ['what was', 3]
    path.chmod(0o666)  # others could have written it
    assert kept('it', find) == ['what was', 4]
    monkeypatch.setattr(module, '_code', lambda: 'another version')
    assert kept('it', find) == ['what was', 5]
    assert len([*tmp_path.iterdir()]) == 3  # and nothing is left beside them


def test_without_a_folder_it_is_searched_each_time(monkeypatch):
    monkeypatch.setenv('GENOPT_CACHE', '/proc/x')
    calls = []
    for _ in range(2): kept('it', lambda: calls.append(1))
    assert len(calls) == 2

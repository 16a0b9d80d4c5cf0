import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ['OMP_NUM_THREADS'] = '1'  # one core for each process of the tests
else:  # they all find what one of them has built; it lives as long as this module
    _shared = tempfile.TemporaryDirectory(prefix='genopt-tests-')
    os.environ['GENOPT_TESTS'] = _shared.name
    os.environ['GENOPT_CACHE'] = os.environ.get('GENOPT_TESTS_CACHE') or f'{_shared.name}/cache'


def pytest_addoption(parser):
    parser.addoption('--write-docs', action='store_true',
                     help='write docs/verified.md from what the tests have seen')


def pytest_configure(config):
    config.addinivalue_line('markers', 'exhaustive(n): one in n of its cases is tried; all of them '
                                       'with GENOPT_WHOLE=1, and those that are asked for by name')
    if config.getoption('--write-docs') and config.getoption('numprocesses'):
        raise pytest.UsageError('--write-docs: one process has to see all tests: add -n 0')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    "What is exhaustive is sampled. See `lateness` for the order."
    from sampled import sampled
    asked = config.option.keyword, config.option.write_docs, *['::' in a for a in config.args]
    cases, left_out = defaultdict(list), set()
    for item in [] if any(asked) else items:
        if item.get_closest_marker('exhaustive'): cases[item.nodeid.split('[')[0]].append(item)
    for name, some in cases.items():
        n, = some[0].get_closest_marker('exhaustive').args
        left_out |= {*some} - {*sampled(some, -(-len(some) // n), name)}
    if left_out: config.hook.pytest_deselected(items=[*left_out])
    items[:] = sorted((i for i in items if i not in left_out), key=lateness)


LATE = ('test_identities', 'test_compare', 'test_specs', 'test_workbench', 'test_atlas_javascript',
        '[explain', 'genopt.study.identities', 'genopt.study.family', 'genopt.atlas')


def lateness(item):
    "Last are those that wait for the atlas, and before them those that need what it searches for."
    return 2 if 'site' in item.fixturenames else any(name in item.nodeid for name in LATE)


def pytest_collection_finish(session):
    "The atlas is built while other tests run."
    is_run = not session.config.option.collectonly
    if is_run and any('site' in i.fixturenames for i in session.items):
        import atlas_site
        atlas_site.begin()


def pytest_sessionfinish(session, exitstatus):
    if not session.config.getoption('--write-docs') or exitstatus: return
    from helpers import VERIFIED
    import genopt
    order = {name: i for i, name in enumerate(genopt.zoo.__all__)}
    rows = sorted(VERIFIED.items(), key=lambda row: order[row[0][0]])
    lines = ['# What was verified', '',
             'Written by `python -m pytest --write-docs`: each recipe against an independent '
             'reference, step by step in float64, with every option that a test tries; '
             'the largest difference relative to the largest number of its tensor. Differences '
             'of 1e-8 to 1e-6 are torch\'s, whose NAdam and ASGD keep a number in float32.', '',
             '| recipe | reference | steps | largest relative difference |', '|---|---|---|---|']
    lines += [f'| {name} | {reference} | {steps} | {f"{worst:.0e}" if worst else 0} |'
              for (name, reference), (steps, worst) in rows]
    file = Path(__file__).parents[1] / 'docs/verified.md'
    file.write_text('\n'.join(lines) + '\n', encoding='utf-8')


@pytest.fixture(autouse=True)
def torchs_muon_as_precise_as_ours(monkeypatch):
    "torch's Muon makes its products in bfloat16 of parameters in float64 too; ours in float64."
    import torch
    muon = sys.modules.get('torch.optim._muon')  # older torch has none
    if muon is None: return
    orthogonal = muon._zeropower_via_newtonschulz
    def precise(grad, *numbers):
        with pytest.MonkeyPatch.context() as m:
            if grad.dtype == torch.float64: m.setattr(torch.Tensor, 'bfloat16', torch.Tensor.clone)
            return orthogonal(grad, *numbers)
    monkeypatch.setattr(muon, '_zeropower_via_newtonschulz', precise)


@pytest.fixture(autouse=True)
def names_of_one_test():
    "A hyperparameter that a test or an example declares is known to it alone."
    from genopt.hypers import PLACES, TABLE
    before = dict(TABLE), dict(PLACES)
    yield
    for table, rows in zip((TABLE, PLACES), before):
        if table != rows: table.clear(), table.update(rows)


@pytest.fixture
def no_kernels(monkeypatch):
    "As in a new process: no composition has a kernel yet."
    from genopt.engines import kernels
    monkeypatch.setattr(kernels, '_programs', WeakKeyDictionary())


@pytest.fixture
def emulated(monkeypatch, no_kernels):
    "Kernels for a GPU, run on the CPU: the machine that runs them."
    from emulation import Emulated
    from genopt.engines import batch, program, toolchain
    machine = Emulated()
    monkeypatch.setattr(toolchain, 'WAYS', [['-O1']])  # it is compiled sooner
    monkeypatch.setattr(program, 'kernel_on', machine.kernel_on)
    monkeypatch.setattr(batch, 'is_launched_on', lambda device: True)
    return machine


@pytest.fixture
def compile(request, monkeypatch):
    """What a test gives an optimizer, to run it by the engine that `helpers.engines` names.

    No value of `compile` chooses the eager engine: in such a test None does.
    """
    from genopt.engines import eager, modes
    def engine_for(value): return eager.run if value is None else modes.engine_for(value)
    if request.param == 'eager': monkeypatch.setattr('genopt.optimizer.engine_for', engine_for)
    return dict(plain=False, eager=None, compiled=True)[request.param]


@pytest.fixture
def builds(monkeypatch, no_kernels):
    "The sources of the kernels that are built from now on."
    from genopt.engines import toolchain
    found, build = [], toolchain.build
    monkeypatch.setattr(toolchain, 'build',
                        lambda code, *names: (found.append(code), build(code, *names))[1])
    return found


@pytest.fixture
def disk(tmp_path, monkeypatch, no_kernels):
    "See `kernel_files.an_empty_disk`."
    import kernel_files
    yield kernel_files.an_empty_disk(tmp_path, monkeypatch)
    kernel_files.forget()


def with_threads(n):
    import torch  # after the number of its threads has been set
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(): yield from with_threads(1)


@pytest.fixture
def two_threads(): yield from with_threads(2)

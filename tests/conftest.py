# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the count of vectors compared, the choice of samples."""

import datetime
import operator

import hypothesis
import pytest

TOTAL = pytest.StashKey[int]()
OF_TEST = pytest.StashKey[int]()

hypothesis.settings.register_profile(
    "carrysave",
    deadline=None,  # a loaded machine is no error
    derandomize=True,  # the same examples in each run
    # `compared` only adds up: it may be shared by the examples of one test.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("carrysave")


def pytest_addoption(parser):
    parser.addoption("--sample", metavar="WORD", default=str(datetime.date.today()),
                     help="chooses the rows of reports that are measured again (default: the date)")


@pytest.fixture
def compared(request):
    """Call ``compared(n)`` with the number of vectors a test has compared; 0 fails."""

    def count(n):
        n = operator.index(n)
        if n <= 0:
            pytest.fail(f"compared {n} vectors: nothing was checked")
        for node, key in ((request.node, OF_TEST), (request.config, TOTAL)):
            node.stash[key] = node.stash.get(key, 0) + n

    return count


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Fail a test that asked for ``compared`` and did not call it."""
    result = yield
    if "compared" in pyfuncitem.fixturenames and OF_TEST not in pyfuncitem.stash:
        pytest.fail("compared() was never called: nothing was checked")
    return result


def pytest_sessionfinish(session):
    """Hand the count of a worker process to the one that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["compared"] = session.config.stash.get(TOTAL, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    total = node.config.stash.get(TOTAL, 0)
    node.config.stash[TOTAL] = total + getattr(node, "workeroutput", {}).get("compared", 0)


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(f"vectors compared: {config.stash.get(TOTAL, 0):,}")

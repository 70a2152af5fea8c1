"""Settings of the whole suite.

Property tests draw anew at every run, except in CI, whose verdict must not depend on luck. Always-rehydrate (R05): with
ACTORFLOW_REHYDRATE=1 every run of every test goes on from bytes after each superstep; without it, the tests of the modules
below are run so once more.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def postgres_server():
    """The DSN of a PostgreSQL server for the whole session."""
    from tests.postgres import running_server

    with running_server() as dsn:
        yield dsn


@pytest.fixture
def database(postgres_server):
    """A schema of its own in it."""
    from tests.postgres import fresh_database

    with fresh_database(postgres_server) as database:
        yield database


@pytest.fixture
def postgres_dsn(postgres_server):
    """A whole database of its own in it, for what works in the schema that is the default."""
    from tests.postgres import fresh_dsn

    with fresh_dsn(postgres_server) as dsn:
        yield dsn


REHYDRATES = bool(os.environ.get("ACTORFLOW_REHYDRATE"))
REHYDRATED = frozenset({
    "test_request_deadlines", "test_requests", "test_state", "test_streams", "test_subworkflow_recovery",
    "test_subworkflows", "test_supersteps", "test_supervision", "test_supervision_recovery", "test_timers",
})  # fmt: skip


def pytest_generate_tests(metafunc):
    """Run the tests of some modules once more, rehydrated."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in REHYDRATED and not REHYDRATES and not metafunc.definition.get_closest_marker("not_rehydrated"):
        ways = [pytest.param(False, id=pytest.HIDDEN_PARAM), pytest.param(True, id="rehydrated")]
        metafunc.parametrize("rehydration", ways, indirect=True)


@pytest.fixture(autouse=True)
def rehydration(request):
    """The counts of the rehydrated runs of a test; None if its runs are left alone."""
    from actorflow.testing import rehydrating

    if not getattr(request, "param", REHYDRATES) or request.node.get_closest_marker("not_rehydrated"):
        yield None
        return
    with rehydrating() as counts:
        yield counts

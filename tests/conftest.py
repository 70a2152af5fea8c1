"""Settings of the whole suite: property tests draw anew at every run, except in CI, whose verdict must not depend on luck."""

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

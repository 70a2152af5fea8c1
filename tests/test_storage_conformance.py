"""The storages of this package keep every clause of the protocol, with the ordinary clock and a virtual one.

And the suite is worth something: each deliberately broken storage of the three `broken_` files fails the clause it breaks.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing.storage_conformance import StorageConformance
from tests.postgres import fresh_database


def _broken_stores(name):
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BROKEN


class TestInMemoryStorage(StorageConformance):
    @asynccontextmanager
    async def open_storage(self):
        yield InMemoryCheckpointStorage()


@pytest.mark.usefixtures("autojump_clock")
class TestInMemoryStorageUnderVirtualTime(TestInMemoryStorage):
    pass


class TestSqliteStorage(StorageConformance):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.paths = (tmp_path / f"{number}.db" for number in itertools.count())

    @asynccontextmanager
    async def open_storage(self):
        with SqliteCheckpointStorage(next(self.paths), synchronous="normal") as storage:
            yield storage


@pytest.mark.usefixtures("autojump_clock")
class TestSqliteStorageUnderVirtualTime(TestSqliteStorage):
    pass


class TestPostgresStorage(StorageConformance):
    @pytest.fixture(autouse=True)
    def server(self, postgres_server):
        self.dsn = postgres_server

    @asynccontextmanager
    async def open_storage(self):
        with (
            fresh_database(self.dsn) as database,
            PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage,
        ):
            yield storage


@pytest.mark.usefixtures("autojump_clock")
class TestPostgresStorageUnderVirtualTime(TestPostgresStorage):
    pass


BROKEN = [row for name in ("broken_stores", "broken_leases", "broken_prunes") for row in _broken_stores(name)]


@pytest.mark.parametrize(("store", "clause"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
async def test_a_broken_store_fails_its_clause(store, clause, autojump_clock):
    class OfThisStore(StorageConformance):
        @asynccontextmanager
        async def open_storage(self):
            yield store()

    test = getattr(OfThisStore(), clause)
    arguments = [autojump_clock] if "autojump_clock" in inspect.signature(test).parameters else []
    found = (AssertionError, CheckpointError, LeaseHeldError, LeaseLostError)
    with pytest.raises((*found, ExceptionGroup)) as caught:
        await test(*arguments)
    assert all(isinstance(error, found) for error in _leaves(caught.value))


def test_every_clause_is_broken_by_a_store():
    clauses = {name for name in dir(StorageConformance) if name.startswith("test_")}

    assert {clause for _, clause in BROKEN} == clauses


def _leaves(error):
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in _leaves(member)]


def test_every_storage_is_a_checkpoint_storage(tmp_path):
    assert isinstance(InMemoryCheckpointStorage(), CheckpointStorage)
    assert isinstance(SqliteCheckpointStorage(tmp_path / "x"), CheckpointStorage)
    assert isinstance(PostgresCheckpointStorage("host=nowhere"), CheckpointStorage)

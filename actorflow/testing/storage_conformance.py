"""The conformance suite for checkpoint storages: subclass it in your tests, and every clause of the protocol is tried.

Example:
    ::

        from contextlib import asynccontextmanager
        from actorflow.testing import StorageConformance

        class TestMyStorage(StorageConformance):
            @asynccontextmanager
            async def open_storage(self):
                async with MyStorage.open("...") as storage:
                    yield storage

The clauses are async methods named ``test_...``, to be run by pytest with pytest-trio and ``trio_mode = true`` (or
``pytestmark = pytest.mark.trio``). They use plain assertions, real concurrency and no sleeping; a clause that needs
several storages opens one after the other. Clauses on the ends of leases ask for ``autojump_clock`` and let virtual time
pass; a storage that goes by another clock than `actorflow.storage.wall_time` overrides `let_pass`. Run all of them under
``autojump_clock`` too: a storage whose worker threads let deadlines fire breaks its users' tests (see
`actorflow.storage.run_in_thread`).

What the suite cannot try from inside one process is for the backend's own tests: kill -9 in the middle of a write, a
full disk, a lost connection, a set-up raced by several processes, a holder that is stopped beyond its lease.
"""

from __future__ import annotations

from actorflow.testing.conformance.cancelling import CancellingClauses
from actorflow.testing.conformance.clauses import StorageClauses
from actorflow.testing.conformance.digests import DigestClauses
from actorflow.testing.conformance.fencing import FencingClauses
from actorflow.testing.conformance.histories import RandomHistory, make_commit, make_entry
from actorflow.testing.conformance.journal import JournalClauses
from actorflow.testing.conformance.leasing import LeasingClauses
from actorflow.testing.conformance.pruning import PruningClauses
from actorflow.testing.conformance.raw_rows import RawRowClauses
from actorflow.testing.conformance.reading import ReadingClauses
from actorflow.testing.conformance.saving import SavingClauses

__all__ = ["RandomHistory", "StorageConformance", "make_commit", "make_entry"]


class StorageConformance(
    SavingClauses,
    ReadingClauses,
    LeasingClauses,
    FencingClauses,
    JournalClauses,
    PruningClauses,
    DigestClauses,
    RawRowClauses,
    CancellingClauses,
    StorageClauses,
):
    """Every clause of `CheckpointStorage`; a subclass says in `open_storage` how a fresh storage is opened."""

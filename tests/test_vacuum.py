"""`vacuum` gives room back to the disk, and takes nothing from anybody (R09)."""

from __future__ import annotations

import apsw
import pytest
import trio

from actorflow import SqliteCheckpointStorage
from actorflow.errors import CheckpointError
from actorflow.testing.storage_conformance import make_commit


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints.db"


async def fill(storage, count=40):
    parent = None
    for number in range(count):
        commit = make_commit(f"{number}", parent, changed={"state/x": bytes([number]) * 50_000})
        parent = (await storage.save(commit)).id


def size(path):
    return path.stat().st_size


async def test_the_file_shrinks_by_what_a_prune_freed(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        await fill(storage)
        await storage.prune(keep_last=2)
        before = await storage.vacuum() + size(path)
        assert before > 2_000_000
        assert size(path) < 200_000
        assert size(path.with_name(path.name + "-wal")) == 0
        assert (await storage.fsck()).ok
        assert (await storage.load("39")).contents == {"state/x": bytes([39]) * 50_000}
        assert await storage.vacuum() == 0
        await storage.save(make_commit("next", "39"))


async def test_a_new_file_can_be_vacuumed(path):
    with SqliteCheckpointStorage(path) as storage:
        await storage.vacuum()
        assert await storage.vacuum() == 0
        assert await storage.list() == []


async def test_readers_and_writers_of_the_same_object_wait_or_go_on(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        await fill(storage, 20)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(storage.save, make_commit(f"beside {number}", "19"))
                nursery.start_soon(storage.load, "19")
                if number % 5 == 0:
                    nursery.start_soon(storage.vacuum)
        assert len(await storage.list()) == 40
        assert (await storage.fsck()).ok


async def test_while_another_writes_it_is_refused_and_changes_nothing(path):
    with SqliteCheckpointStorage(path, busy_timeout=0.01) as storage:
        await fill(storage, 3)
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CheckpointError, match="locked"):
            await storage.vacuum()
        other.execute("ROLLBACK")
        other.close()
        await storage.vacuum()
        assert (await storage.fsck()).checkpoints == 3


async def test_one_that_is_cancelled_changes_nothing(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        await fill(storage, 200)
        with trio.move_on_after(0.001) as scope:
            while True:
                await storage.vacuum()
        assert scope.cancelled_caught
        assert (await storage.fsck()).checkpoints == 200
        await storage.save(make_commit("next", "199"))

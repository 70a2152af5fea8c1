"""What the in-memory storage does beyond the clauses every storage keeps (see test_storage_conformance)."""

from __future__ import annotations

import pytest

from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.testing.storage_conformance import make_commit, make_entry


async def test_nothing_a_caller_holds_reaches_the_records():
    """F33: the contents of one load, and the mapping a commit was made from, are nobody else's."""
    storage = InMemoryCheckpointStorage()
    sections = {"state/list": b"[1]"}
    await storage.save(make_commit("a", changed=sections))
    sections["state/list"] = b"[2]"
    first, second = await storage.load("a"), await storage.load("a")
    assert first.contents is not second.contents
    assert first.contents == second.contents == {"state/list": b"[1]"}


async def test_it_stands_in_for_a_storage_that_is_closed_and_keeps_its_records():
    with InMemoryCheckpointStorage() as storage:
        await storage.save(make_commit("a"))
    storage.close()
    assert [info.id for info in await storage.list()] == ["a"]


async def test_two_storages_share_nothing():
    one, other = InMemoryCheckpointStorage(), InMemoryCheckpointStorage()
    await one.save(make_commit("a"))
    assert await other.list() == []


async def test_a_deleted_checkpoint_leaves_nothing_behind():
    """R20: a storage that is pruned as it grows stays as small as what it keeps."""
    storage = InMemoryCheckpointStorage()
    for number in range(50):
        await storage.save(make_commit("root", workflow_id=f"workflow-{number}"))
        await storage.save(make_commit("leaf", "root", workflow_id=f"workflow-{number}"))
        await storage.delete("leaf")
        await storage.delete("root")
        lease = await storage.acquire_lease(f"workflow-{number}", owner="owner")
        await storage.save(make_commit("root", workflow_id=f"workflow-{number}", lease=lease))
        await storage.write_journal([make_entry(0, "root", workflow_id=f"workflow-{number}")], lease=lease)
        await storage.release_lease(lease)
        await storage.delete("root")
    assert (storage._records, storage._workflows, storage._children) == ({}, {}, {})
    assert (storage._leases._holdings, storage._journal._entries) == ({}, {})
    assert repr(storage) == "<InMemoryCheckpointStorage with 0 checkpoints>"


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "1"])
def test_a_limit_of_payloads_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="max_payload"):
        InMemoryCheckpointStorage(max_payload=size)

"""Clauses on what `fsck` reads: the rows as they are stored, and that a storage finds itself sound."""

from __future__ import annotations

from actorflow.checkpoint.fsck import fsck
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.checkpoint.stored_rows import StoredRow
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, save_all
from actorflow.testing.conformance.histories import RandomHistory, make_commit, make_entry

__all__ = ["RawRowClauses"]


class RawRowClauses(StorageClauses):
    """Clauses on `read_rows` and `inspect`."""

    async def test_pages_of_rows_join_to_all_that_was_written(self) -> None:
        """In order of writing, whatever the size of the pages: headers, payloads, and what each says of its parent."""
        async with self.open_storage() as storage:
            history = RandomHistory(600)
            commits = [history.next_commit() for _ in range(30)]
            await save_all(storage, commits)
            for limit in (1, 7, 100):
                rows = await _all_rows(storage, limit)
                assert [row.info for row in rows] == [one.info for one in history.expected.values()]
                assert [(row.payload, row.full) for row in rows] == [(one.payload, one.full) for one in commits]
            _check_parents(rows)
            assert not any(row.damage or row.seal for row in rows)
            assert await _all_rows(storage, 7, "red") == [row for row in rows if row.workflow_id == "red"]
            assert await storage.read_rows(0, 5, workflow_id="\ud800") == []

    async def test_a_page_of_rows_has_at_least_one(self) -> None:
        """It is refused to ask for less, and what is beyond the last one is nothing."""
        async with self.open_storage() as storage:
            assert await storage.read_rows() == []
            await expect_error(storage.read_rows(0, 0), ValueError)
            await storage.save(make_commit("a"))
            (row,) = await storage.read_rows(0, 1)
            assert await storage.read_rows(row.position, 1) == []

    async def test_a_page_ends_when_its_payloads_are_large(self) -> None:
        """So that whoever reads page by page needs memory for a page."""
        async with self.open_storage() as storage:
            large = {"state/large": bytes(3 * 1024 * 1024)}
            await save_all(storage, [make_commit(f"{number}", changed=large) for number in range(4)])
            assert 1 <= len(await storage.read_rows(0, 100)) <= 3
            assert len(await _all_rows(storage, 100)) == 4

    async def test_what_was_cut_off_has_a_seal(self) -> None:
        """And nothing else has one; its row names no parent any more."""
        commits = [make_commit("a"), make_commit("b", "a"), make_commit("c", "b"), make_commit("d", "c")]
        async with self.open_storage() as storage:
            await save_all(storage, commits)
            await storage.prune(keep_last=2)
            first, second = await _all_rows(storage, 100)
            assert (first.checkpoint_id, first.refers_to, first.parent, first.full) == ("c", None, None, True)
            assert first.seal is not None
            assert len(first.seal) == 32
            assert (second.checkpoint_id, second.seal) == ("d", None)
            _check_parents([first, second])

    async def test_a_storage_finds_itself_sound(self) -> None:
        """Whatever was written, branched, pruned, deleted, journaled or leased."""
        for seed in range(4):
            async with self.open_storage() as storage:
                history = RandomHistory(700 + seed)
                await save_all(storage, [history.next_commit() for _ in range(40)])
                lease = await storage.acquire_lease("red", owner="owner")
                head = await storage.latest(workflow_id="red")
                assert head is not None
                await storage.write_journal([make_entry(0, head.id, workflow_id="red")], lease=lease)
                for keep_last in (5, 1):
                    report = await fsck(storage, check=lambda checkpoint: checkpoint.contents)
                    assert report.ok, str(report)
                    assert report.checkpoints == len(await storage.list())
                    await storage.prune(keep_last=keep_last)
                await storage.delete((await storage.list())[0].id)
                await storage.release_lease(lease)
                assert (await fsck(storage)).ok


async def _all_rows(storage: CheckpointStorage, limit: int, workflow_id: str | None = None) -> list[StoredRow]:
    rows: list[StoredRow] = []
    while page := await storage.read_rows(rows[-1].position if rows else 0, limit, workflow_id=workflow_id):
        assert len(page) <= limit
        rows += page
    positions = [row.position for row in rows]
    assert positions == sorted(set(positions))
    return rows


def _check_parents(rows: list[StoredRow]) -> None:
    by_id = {row.checkpoint_id: row for row in rows}
    for row in rows:
        assert row.info is not None
        assert (row.checkpoint_id, row.workflow_id) == (row.info.id, row.info.workflow_id)
        if row.info.parent_id is None:
            assert row.refers_to is None
            assert row.parent is None
            continue
        parent = by_id[row.info.parent_id]
        assert row.refers_to is not None
        assert row.parent is not None
        assert parent.info is not None
        named = (row.parent.position, row.parent.workflow_id, row.parent.digest)
        assert named == (parent.position, parent.workflow_id, parent.info.digest)

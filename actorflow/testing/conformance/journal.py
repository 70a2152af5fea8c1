"""Clauses on the journal: what finished deliveries did stays until their superstep is saved, and no longer."""

from __future__ import annotations

import trio

from actorflow.checkpoint.records import JournalEntry
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, save_all
from actorflow.testing.conformance.histories import make_commit, make_entry

__all__ = ["JournalClauses"]


class JournalClauses(StorageClauses):
    """Clauses on `write_journal` and `read_journal`, and what `save` and `delete` do to a journal."""

    async def test_journal_entries_come_back_exactly_and_in_order(self) -> None:
        """In order of index, whatever the order of writing; every byte of them."""
        payloads = {7: b"", 0: bytes(range(256)), 2**40: b"x" * 100_000, 3: b"\x00"}
        async with self.open_storage() as storage:
            await storage.save(make_commit("a"))
            for head in ("a", None):
                entries = [make_entry(index, head, payload=payload) for index, payload in payloads.items()]
                await storage.write_journal(entries[:2])
                await storage.write_journal([])
                await storage.write_journal(entries[2:])
                expected = sorted(entries, key=lambda entry: entry.index)
                assert await storage.read_journal("workflow", head) == expected

    async def test_the_first_entry_of_a_place_stays(self) -> None:
        """A retry after a lost acknowledgement, whole or in part, adds only what is missing."""
        async with self.open_storage() as storage:
            await storage.save(make_commit("a"))
            first = [make_entry(index, "a") for index in range(3)]
            await storage.write_journal(first)
            again = [make_entry(index, "a", payload=b"again") for index in range(5)]
            for _ in range(2):
                await storage.write_journal([*again, make_entry(4, "a", payload=b"twice")])
            assert await storage.read_journal("workflow", "a") == [*first, *again[3:]]

    async def test_many_may_write_to_the_journal_at_once(self) -> None:
        """Deliveries finish together; each entry is there once."""
        async with self.open_storage() as storage:
            await storage.save(make_commit("a"))
            lease = await storage.acquire_lease("workflow", owner="owner")

            async def write(index: int) -> None:
                await storage.write_journal([make_entry(index, "a"), make_entry(index + 1, "a")], lease=lease)

            async with trio.open_nursery() as nursery:
                for index in range(12):
                    nursery.start_soon(write, index)
            assert await storage.read_journal("workflow", "a") == [make_entry(index, "a") for index in range(13)]

    async def test_only_the_superstep_that_was_asked_for_is_read(self) -> None:
        """Entries that follow another checkpoint, or of another workflow id, are not shown."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a"), make_commit("b", "a"), make_commit("c", workflow_id="other")))
            entries = [
                make_entry(0, "a"),
                make_entry(1, "b"),
                make_entry(2),
                make_entry(3, "a", workflow_id="other"),
                make_entry(4, "c", workflow_id="other"),
                make_entry(5, workflow_id="no checkpoint yet"),
            ]
            await storage.write_journal(entries)
            for entry in entries:
                assert await storage.read_journal(entry.workflow_id, entry.checkpoint_id) == [entry]
            for workflow_id, head in (
                ("workflow", "c"),
                ("nobody", "a"),
                ("workflow", "nothing"),
                ("\ud800", "\ud800"),
            ):
                assert await storage.read_journal(workflow_id, head) == []

    async def test_a_save_ends_the_journal_of_its_workflow_id(self) -> None:
        """All of it, and no other's; a save that was done before, or is refused, ends none."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a"), make_commit("o", workflow_id="other")))
            other = make_entry(0, "o", workflow_id="other")
            await storage.write_journal([make_entry(0, "a"), make_entry(1, "a"), make_entry(2), other])
            await storage.save(make_commit("a"))
            await expect_error(storage.save(make_commit("b", "nowhere")), CheckpointError)
            assert await storage.read_journal("workflow", "a") == [make_entry(0, "a"), make_entry(1, "a")]
            await storage.save(make_commit("b", "a"))
            for head in ("a", "b", None):
                assert await storage.read_journal("workflow", head) == []
            assert await storage.read_journal("other", "o") == [other]

    async def test_deleting_a_checkpoint_ends_the_journal_that_follows_it(self) -> None:
        """Of whatever workflow id; an id that is used again begins without one."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a"), make_commit("b", "a")))
            branch = make_entry(0, "b", workflow_id="branch")
            await storage.write_journal([make_entry(0, "a"), make_entry(1, "b"), branch, make_entry(2)])
            await storage.delete("b")
            assert await storage.read_journal("workflow", "a") == [make_entry(0, "a")]
            await storage.save(make_commit("b", workflow_id="new"))
            for workflow_id in ("workflow", "branch", "new"):
                assert await storage.read_journal(workflow_id, "b") == []
            await storage.delete("a")
            assert await storage.read_journal("workflow", "a") == []
            assert await storage.read_journal("workflow", None) == [make_entry(2)]

    async def test_a_journal_is_written_whole_or_not_at_all(self) -> None:
        """One entry that cannot be kept, or that follows what is not there, and none is written."""
        good = make_entry(0, "a")
        async with self.open_storage() as storage:
            await storage.save(make_commit("a"))
            error = await expect_error(storage.write_journal([good, make_entry(1, "nowhere")]), CheckpointNotFoundError)
            assert "'nowhere'" in str(error)
            for bad in (
                make_entry(1, "nowhere"),
                make_entry(1, ""),
                make_entry(1, "\ud800"),
                make_entry(1, "a", workflow_id=""),
                make_entry(1, "a", workflow_id="\ud800"),
                make_entry(-1, "a", payload=b""),
                make_entry(2**63, "a"),
                _with_text_for_payload(good),
            ):
                await expect_error(storage.write_journal([good, bad]), CheckpointError)
                assert await storage.read_journal("workflow", "a") == []
            await storage.write_journal([good])
            assert await storage.read_journal("workflow", "a") == [good]

    async def test_a_journal_refused_among_many_leaves_nothing(self) -> None:
        """Writers that happen to be written together share no failure, and of what failed no half is there."""
        refused: list[int] = []
        async with self.open_storage() as storage:
            await storage.save(make_commit("a"))

            async def write(number: int) -> None:
                second = make_entry(100 + number, "nowhere" if number % 3 == 0 else "a")
                try:
                    await storage.write_journal([make_entry(number, "a"), second])
                except CheckpointError:
                    refused.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(write, number)
            written = [entry.index for entry in await storage.read_journal("workflow", "a")]
        kept = [number for number in range(12) if number % 3]
        assert sorted(refused) == [0, 3, 6, 9]
        assert written == [*kept, *(100 + number for number in kept)]


def _with_text_for_payload(entry: JournalEntry) -> JournalEntry:
    wrong = JournalEntry(
        workflow_id=entry.workflow_id, checkpoint_id=entry.checkpoint_id, index=1, payload=entry.payload
    )
    object.__setattr__(wrong, "payload", "text")
    return wrong

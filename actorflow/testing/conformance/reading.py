"""Clauses on reading: contents, listing, lineage, and what is seen while others write."""

from __future__ import annotations

import itertools

import trio

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.checkpoint.tools import StorageTools
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, ids, save_all
from actorflow.testing.conformance.histories import RandomHistory, make_commit

__all__ = ["ReadingClauses"]


class ReadingClauses(StorageClauses):
    """Clauses on `load`, `latest`, `list`, `lineage` and `children`."""

    async def test_an_empty_storage_says_so(self) -> None:
        """Nothing is None or an empty list where nothing may be, and CheckpointNotFoundError where something was named."""
        async with self.open_storage() as storage:
            assert await storage.latest(workflow_id="workflow") is None
            assert await storage.list() == []
            assert await storage.list("workflow", "conformance", limit=1) == []
            for verb in (storage.load, storage.lineage, storage.children, storage.delete):
                await expect_error(verb("nothing"), CheckpointNotFoundError)
            await expect_error(storage.list(before="nothing"), CheckpointNotFoundError)
            for limit in (0, -1):
                await expect_error(storage.list(limit=limit), ValueError)

    async def test_a_workflow_id_need_have_no_checkpoint_but_a_named_one_must_exist(self) -> None:
        """A workflow id that has none has no latest, no headers and no history; the id of a checkpoint that is not there is an error."""
        async with self.open_storage() as storage:
            await storage.save(make_commit("there", workflow_id="red"))
            for workflow_id in ("absent", "there", "\ud800"):
                assert await storage.latest(workflow_id=workflow_id) is None
                assert await storage.list(workflow_id) == []
                assert await StorageTools.history(storage, workflow_id) == []
                if isinstance(storage, StorageTools):
                    assert await storage.history(workflow_id) == []
            for verb in (storage.load, storage.lineage, storage.children):
                await expect_error(verb("red"), CheckpointNotFoundError)

    async def test_loading_equals_replaying(self) -> None:
        """For random histories every checkpoint loads as a plain dict replays it."""
        for seed in range(6):
            async with self.open_storage() as storage:
                history = await _written(storage, seed, 60)
                for checkpoint_id, expected in history.expected.items():
                    loaded = await storage.load(checkpoint_id)
                    assert loaded.contents == expected.contents, f"history {seed}, checkpoint {checkpoint_id}"
                    assert (loaded.sequence, loaded.parent_id) == (expected.info.sequence, expected.info.parent_id)

    async def test_headers_and_lineage_equal_the_model(self) -> None:
        """For random histories listing, lineage, children and latest are what was written, in order of writing."""
        async with self.open_storage() as storage:
            history = await _written(storage, 100, 80)
            written = [expected.info for expected in history.expected.values()]
            assert await storage.list() == written[::-1]
            for info in written:
                assert await storage.lineage(info.id) == history.lineage(info.id)
                assert await storage.children(info.id) == [one for one in written if one.parent_id == info.id]
            for workflow_id in ("red", "green", "blue"):
                latest = await storage.latest(workflow_id=workflow_id)
                assert latest is not None
                assert latest.id == history.of_workflow(workflow_id)[-1].info.id

    async def test_filters_and_pages_cut_the_same_listing(self) -> None:
        """Every combination of filters, limit and before is a slice of the listing of all."""
        async with self.open_storage() as storage:
            await _written(storage, 200, 50)
            everything = await storage.list()
            for workflow_id in (None, "red", "absent"):
                for name in (None, "first", "absent"):
                    wanted = [
                        one
                        for one in everything
                        if workflow_id in (None, one.workflow_id) and name in (None, one.workflow_name)
                    ]
                    assert await storage.list(workflow_id, name) == wanted
                    older = [one for one in wanted if one in everything[21:]]
                    assert await storage.list(workflow_id, name, 5, everything[20].id) == older[:5]

    async def test_pages_join_without_gap_or_repeat_while_others_write(self) -> None:
        """A reader that pages by the last id of each page sees all that was there when it began, once."""
        async with self.open_storage() as storage:
            there = ids(await save_all(storage, (make_commit(f"old-{n}") for n in range(25))))
            seen: list[str] = []
            page = await storage.list(limit=4)
            while page:
                seen += ids(page)
                await storage.save(make_commit(f"new-{len(seen)}"))
                page = await storage.list(limit=4, before=page[-1].id)
        assert seen == there[::-1]

    async def test_branches_in_one_workflow_id_may_interleave(self) -> None:
        """Time travel within a workflow id: each branch loads what lies on its own line, and the latest is the last."""
        async with self.open_storage() as storage:
            await storage.save(make_commit("root", changed={"state/origin": b"root"}))
            heads = {"left": "root", "right": "root"}
            for number in range(6):
                for side, head in tuple(heads.items()):
                    await storage.save(make_commit(f"{side}{number}", head, changed={f"state/{side}": b"%d" % number}))
                    heads[side] = f"{side}{number}"
            left, latest = await storage.load("left5"), await storage.latest(workflow_id="workflow")
            line = ids(await storage.lineage("right2"))
        assert left.contents == {"state/origin": b"root", "state/left": b"5"}
        assert latest is not None
        assert latest.contents == {"state/origin": b"root", "state/right": b"5"}
        assert line == ["right2", "right1", "right0", "root"]

    async def test_lineage_crosses_workflow_ids(self) -> None:
        """A branch under another id has its origin as parent; a branch of a branch too."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a0", workflow_id="a"), make_commit("a1", "a0", workflow_id="a")))
            await save_all(
                storage, (make_commit("b0", "a0", workflow_id="b", full=True), make_commit("b1", "b0", workflow_id="b"))
            )
            await storage.save(make_commit("c0", "b1", workflow_id="c", full=True))
            assert ids(await storage.lineage("c0")) == ["c0", "b1", "b0", "a0"]
            assert ids(await storage.children("a0")) == ["a1", "b0"]
            latest = await storage.latest(workflow_id="a")
        assert latest is not None
        assert latest.id == "a1"

    async def test_loading_twice_gives_the_same_whatever_was_done_to_the_first(self) -> None:
        """Nothing that is handed out is shared."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a", changed={"state/x": b"1"}), make_commit("b", "a")))
            for checkpoint_id in ("b", "a"):
                first = await storage.load(checkpoint_id)
                expected = dict(first.contents)
                if isinstance(first.contents, dict):
                    first.contents.clear()
                assert (await storage.load(checkpoint_id)).contents == expected
            headers = await storage.list()
            headers.clear()
            (await storage.lineage("b")).clear()
            (await storage.children("a")).clear()
            assert ids(await storage.list()) == ids(await storage.lineage("b")) == ["b", "a"]
            assert ids(await storage.children("a")) == ["b"]

    async def test_nothing_is_seen_by_halves(self) -> None:
        """Whatever a reader is shown while others write can be loaded, and has its whole lineage."""
        async with self.open_storage() as storage:
            read = trio.Event()
            async with trio.open_nursery() as nursery:
                for writer in range(4):
                    nursery.start_soon(_write_line_until, read, storage, f"writer-{writer}")
                for _ in range(20):
                    await _check_shown(storage)
                read.set()
            await _check_shown(storage)

    async def test_a_payload_that_is_no_delta_is_an_error_of_its_checkpoint_alone(self) -> None:
        """Hostile bytes are refused when they are loaded; everything else goes on."""
        async with self.open_storage() as storage:
            good = make_commit("good")
            bad = make_commit("bad", "good")
            object.__setattr__(bad, "payload", b"\xdd\xff\xff\xff\xff")
            await save_all(storage, (good, bad))
            await expect_error(storage.load("bad"), CheckpointError)
            assert (await storage.load("good")).contents == {"state/last": b"good"}
            assert ids(await storage.lineage("bad")) == ["bad", "good"]


async def _written(storage: CheckpointStorage, seed: int, length: int) -> RandomHistory:
    history = RandomHistory(seed)
    for _ in range(length):
        commit = history.next_commit()
        assert await storage.save(commit) == history.expected[commit.info.id].info
    return history


async def _write_line_until(enough: trio.Event, storage: CheckpointStorage, workflow_id: str) -> None:
    parent = None
    for number in itertools.count():
        commit = make_commit(f"{workflow_id}/{number}", parent, workflow_id=workflow_id)
        parent = (await storage.save(commit)).id
        if enough.is_set():
            return


async def _check_shown(storage: CheckpointStorage) -> None:
    headers = await storage.list(limit=8)
    for header in headers[:2]:
        assert (await storage.load(header.id)).contents == {"state/last": header.id.encode()}
        line = await storage.lineage(header.id)
        assert [one.sequence for one in line] == list(range(header.sequence, 0, -1))
        latest = await storage.latest(workflow_id=header.workflow_id)
        assert latest is not None
        assert latest.sequence >= header.sequence

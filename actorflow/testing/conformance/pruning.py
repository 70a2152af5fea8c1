"""Clauses on pruning: what goes, and that nothing that stays can tell the difference."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio
import trio.testing

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.testing.conformance.cancelling import cancelled_at
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, ids, save_all
from actorflow.testing.conformance.histories import Expected, RandomHistory, make_commit, make_entry

__all__ = ["PruningClauses"]


class PruningClauses(StorageClauses):
    """Clauses on `prune`."""

    async def test_a_prune_that_would_take_anything_is_refused(self) -> None:
        """It says what to keep, and that is something."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a"), make_commit("b", "a")))
            await expect_error(storage.prune(), ValueError)
            await expect_error(storage.prune(workflow_id="workflow"), ValueError)
            await expect_error(storage.prune(keep_last=0), ValueError)
            await expect_error(storage.prune(keep_last=-1, older_than=timedelta(1)), ValueError)
            await expect_error(storage.prune(older_than=timedelta(microseconds=-1)), ValueError)
            assert await storage.prune(keep_last=5) == 0
            assert await storage.prune(workflow_id="nobody", keep_last=1) == 0
            assert await storage.prune(workflow_id="\ud800", keep_last=1) == 0
            assert await storage.prune(older_than=timedelta.max) == 0
            assert ids(await storage.list()) == ["b", "a"]

    async def test_a_prune_takes_what_is_neither_new_nor_young(self) -> None:
        """By place in the sequence, by age, or by both together; the latest stays, however old."""
        now = datetime.now(UTC)
        cases: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"keep_last": 2}, ["4", "3", "other"]),
            ({"keep_last": 1}, ["4", "other"]),
            ({"older_than": timedelta(days=25)}, ["4", "2", "1", "other"]),
            ({"older_than": timedelta(0)}, ["4", "other"]),
            ({"keep_last": 3, "older_than": timedelta(days=5)}, ["4", "3", "2", "other"]),
            ({"keep_last": 1, "older_than": timedelta(days=15)}, ["4", "1", "other"]),
            ({"workflow_id": "other", "keep_last": 1}, ["4", "3", "2", "1", "other"]),
        )
        for arguments, left in cases:
            async with self.open_storage() as storage:
                await storage.save(make_commit("other", workflow_id="other", created_at=now - timedelta(days=99)))
                parent = None
                for number, days in enumerate((10, 20, 30, 40), start=1):
                    commit = make_commit(f"{number}", parent, created_at=now - timedelta(days=days))
                    parent = (await storage.save(commit)).id
                deleted = await storage.prune(**arguments)
                assert ids(await storage.list()) == left, arguments
                assert deleted == 5 - len(left)

    async def test_what_a_prune_leaves_is_what_it_was(self) -> None:
        """For random histories with branches: contents, headers, lineage, children and latest are as the model says."""
        for seed in range(8):
            async with self.open_storage() as storage:
                history = RandomHistory(300 + seed)
                draw = random.Random(seed)  # noqa: S311  # to be repeatable is the point
                held = dict(history.expected)
                for _ in range(4):
                    held |= await _write(storage, history, 20)
                    doomed = await _prune_somehow(storage, draw, held)
                    held = _without(held, doomed)
                    await _check_holds(storage, held, doomed)

    async def test_writing_goes_on_after_a_prune(self) -> None:
        """The next delta stands on the head; a retry of what was cut off from its parent is still a retry."""
        commits = [make_commit("a", changed={"state/x": b"1"}), make_commit("b", "a"), make_commit("c", "b")]
        async with self.open_storage() as storage:
            await save_all(storage, commits)
            assert await storage.prune(keep_last=1) == 2
            cut_off = await storage.save(commits[-1])
            assert (cut_off.parent_id, cut_off.derived_from, cut_off.sequence) == (None, "b", 3)
            assert (await storage.save(make_commit("d", "c"))).sequence == 4
            assert (await storage.load("d")).contents == {"state/x": b"1", "state/last": b"d"}
            assert ids(await storage.lineage("d")) == ["d", "c"]
            await expect_error(storage.save(make_commit("c", "a")), CheckpointError)
            await expect_error(storage.save(make_commit("e", "b")), CheckpointError)

    async def test_what_a_running_superstep_follows_stays(self, autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG002  # pytest-trio sees it
        """With its journal, as long as the lease lasts; afterwards it goes like any other, and its journal with it."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a"), make_commit("b", "a"), make_commit("c", "b")))
            entries = [make_entry(0, "b"), make_entry(1, "b", workflow_id="branch")]
            leases = [await storage.acquire_lease(name, owner="owner") for name in ("workflow", "branch")]
            for entry, lease in zip(entries, leases, strict=True):
                await storage.write_journal([entry], lease=lease)
            assert await storage.prune(keep_last=1) == 1
            await storage.release_lease(leases[0])
            assert await storage.prune(keep_last=1) == 0
            for entry in entries:
                assert await storage.read_journal(entry.workflow_id, "b") == [entry]
            await self.let_pass(leases[1].ttl)
            assert await storage.prune(keep_last=1) == 1
            for entry in entries:
                assert await storage.read_journal(entry.workflow_id, "b") == []
            assert ids(await storage.list()) == ["c"]

    async def test_a_prune_cancelled_at_any_step_leaves_a_storage_as_good_as_any(self) -> None:
        """What is left loads, and calling again does the rest."""
        for step in range(100):
            async with self.open_storage() as storage:
                history = RandomHistory(400)
                before = await _write(storage, history, 30)
                _, reached = await cancelled_at(step, lambda storage=storage: storage.prune(keep_last=2))  # type: ignore[misc]
                left = set(ids(await storage.list()))
                await _check_holds(storage, _without(before, before.keys() - left), before.keys() - left)
                await storage.prune(keep_last=2)
                doomed = _doomed(before, None, 2, None)
                await _check_holds(storage, _without(before, doomed), doomed)
            if not reached:
                return

    async def test_a_prune_while_others_write_takes_nothing_from_them(self) -> None:
        """Every line goes on under its writer's feet, and is whole in the end."""
        async with self.open_storage() as storage:

            async def write(workflow_id: str) -> None:
                parent = None
                for number in range(15):
                    commit = make_commit(
                        f"{workflow_id}-{number}",
                        parent,
                        workflow_id=workflow_id,
                        changed={f"state/{number}": workflow_id.encode()},
                    )
                    parent = (await storage.save(commit)).id

            async with trio.open_nursery() as nursery:
                for name in ("red", "green", "blue"):
                    nursery.start_soon(write, name)
                for _ in range(10):
                    await storage.prune(keep_last=2)
            await storage.prune(keep_last=2)
            for name in ("red", "green", "blue"):
                assert [info.sequence for info in await storage.list(name)] == [15, 14]
                latest = await storage.latest(workflow_id=name)
                assert latest is not None
                assert latest.contents == {f"state/{number}": name.encode() for number in range(15)}

    async def test_a_prune_keeps_what_it_cannot_rewrite(self) -> None:
        """A checkpoint that cannot be read keeps what it stands on, and the error names it."""
        async with self.open_storage() as storage:
            bad = make_commit("bad", "good")
            object.__setattr__(bad, "payload", b"\xdd\xff\xff\xff\xff")
            await save_all(storage, (make_commit("good"), bad))
            error = await expect_error(storage.prune(keep_last=1), CheckpointError)
            assert "'bad'" in str(error)
            assert (await storage.load("good")).contents == {"state/last": b"good"}
            assert ids(await storage.lineage("bad")) == ["bad", "good"]


async def _write(storage: CheckpointStorage, history: RandomHistory, length: int) -> dict[str, Expected]:
    """Write on, from parents that are there still, and return what was written."""
    written: dict[str, Expected] = {}
    there = set(ids(await storage.list()))
    while len(written) < length:
        commit = history.next_commit()
        if commit.info.parent_id is not None and commit.info.parent_id not in there:
            del history.expected[commit.info.id]
            commit = make_commit(commit.info.id, workflow_id=commit.info.workflow_id, created_at=commit.info.created_at)
            history.expected[commit.info.id] = Expected(
                commit.info, {"state/last": commit.info.id.encode()}, len(history.expected)
            )
        info = await storage.save(commit)
        history.expected[info.id] = written[info.id] = attrs.evolve(history.expected[info.id], info=info)
        there.add(info.id)
    return written


async def _prune_somehow(storage: CheckpointStorage, draw: random.Random, held: Mapping[str, Expected]) -> set[str]:
    workflow_id = draw.choice((None, None, "red", "green"))
    keep_last = draw.choice((None, 1, 2, 5))
    moment = draw.choice([expected.info.created_at for expected in held.values()]) + timedelta(seconds=0.5)
    older_than = None if keep_last is not None and draw.random() < 0.5 else datetime.now(UTC) - moment
    doomed = _doomed(held, workflow_id, keep_last, None if older_than is None else moment)
    assert await storage.prune(workflow_id=workflow_id, keep_last=keep_last, older_than=older_than) == len(doomed)
    assert await storage.prune(workflow_id=workflow_id, keep_last=keep_last, older_than=older_than) == 0
    return doomed


def _doomed(
    held: Mapping[str, Expected], workflow_id: str | None, keep_last: int | None, moment: datetime | None
) -> set[str]:
    doomed: set[str] = set()
    for name in ("red", "green", "blue") if workflow_id is None else (workflow_id,):
        line = [expected.info for expected in held.values() if expected.info.workflow_id == name]
        doomed.update(info.id for info in line[: -(keep_last or 1)] if moment is None or info.created_at < moment)
    return doomed


def _without(held: Mapping[str, Expected], doomed: set[str]) -> dict[str, Expected]:
    left = {}
    for checkpoint_id, expected in held.items():
        info = expected.info
        if info.parent_id in doomed:
            info = attrs.evolve(info, parent_id=None, derived_from=info.parent_id)
        if checkpoint_id not in doomed:
            left[checkpoint_id] = attrs.evolve(expected, info=info)
    return left


async def _check_holds(storage: CheckpointStorage, held: Mapping[str, Expected], doomed: set[str]) -> None:
    headers = [expected.info for expected in held.values()]
    assert await storage.list() == headers[::-1]
    for expected in held.values():
        info = expected.info
        loaded = await storage.load(info.id)
        assert loaded.contents == expected.contents, info.id
        assert await storage.children(info.id) == [one for one in headers if one.parent_id == info.id]
        line = await storage.lineage(info.id)
        assert line[0] == info
        assert [one.parent_id for one in line] == [*ids(line)[1:], None]
    for checkpoint_id in doomed:
        await expect_error(storage.load(checkpoint_id), CheckpointNotFoundError)

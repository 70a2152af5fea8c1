"""Clauses on cancellation: a verb that raises has changed nothing, and one that returns has done its work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import LeaseHeldError
from actorflow.testing.conformance.clauses import StorageClauses, ids, save_all
from actorflow.testing.conformance.histories import make_commit, make_entry

__all__ = ["CancellingClauses", "cancelled_at"]

_MORE_STEPS_THAN_A_VERB_TAKES = 200


class CancellingClauses(StorageClauses):
    """Clauses on what a cancellation leaves behind."""

    async def test_a_save_cancelled_at_any_step_is_all_or_nothing(self) -> None:
        """Cancelled before every step of the scheduler in turn: raised means not there, returned means there."""
        async with self.open_storage() as storage:
            for step in range(_MORE_STEPS_THAN_A_VERB_TAKES):
                commit = make_commit(f"{step}")
                returned, reached = await cancelled_at(step, lambda commit=commit: storage.save(commit))  # type: ignore[misc]
                there = f"{step}" in ids(await storage.list("workflow", limit=1))
                assert there == returned, f"cancelled at step {step}: returned={returned}, committed={there}"
                if not reached:
                    break
            await self._check_still_works(storage)

    async def test_a_delete_cancelled_at_any_step_is_all_or_nothing(self) -> None:
        """As for save."""
        async with self.open_storage() as storage:
            for step in range(_MORE_STEPS_THAN_A_VERB_TAKES):
                await storage.save(make_commit(f"{step}"))
                returned, reached = await cancelled_at(step, lambda step=step: storage.delete(f"{step}"))  # type: ignore[misc]
                there = f"{step}" in ids(await storage.list())
                assert there != returned, f"cancelled at step {step}: returned={returned}, still there={there}"
                if not reached:
                    break
            await self._check_still_works(storage)

    async def test_a_journal_entry_cancelled_at_any_step_is_all_or_nothing(self) -> None:
        """As for save."""
        async with self.open_storage() as storage:
            for step in range(_MORE_STEPS_THAN_A_VERB_TAKES):
                entries = [make_entry(2 * step), make_entry(2 * step + 1)]
                returned, reached = await cancelled_at(step, lambda entries=entries: storage.write_journal(entries))  # type: ignore[misc]
                there = [entry for entry in await storage.read_journal("workflow", None) if entry in entries]
                assert there == (entries if returned else []), f"cancelled at step {step}: returned={returned}"
                if not reached:
                    break
            await self._check_still_works(storage)

    async def test_leasing_cancelled_at_any_step_is_all_or_nothing(self) -> None:
        """Acquired means held, raised means free; released means free, raised means held."""
        async with self.open_storage() as storage:
            for step in range(_MORE_STEPS_THAN_A_VERB_TAKES):
                name = f"{step}"
                returned, reached = await cancelled_at(step, lambda name=name: storage.acquire_lease(name, owner="a"))  # type: ignore[misc]
                assert returned == await _is_held(storage, name), f"cancelled at step {step}: returned={returned}"
                lease = await storage.acquire_lease(name, owner="b" if not returned else "a")
                released, _ = await cancelled_at(step, lambda lease=lease: storage.release_lease(lease))  # type: ignore[misc]
                assert released != await _is_held(storage, name), f"cancelled at step {step}: released={released}"
                if not reached:
                    break
            await self._check_still_works(storage)

    async def test_a_cancelled_saver_takes_no_other_with_it(self) -> None:
        """Among savers that are written together any one may be cancelled at any step; the rest are all saved."""
        async with self.open_storage() as storage:
            for step in range(_MORE_STEPS_THAN_A_VERB_TAKES):
                returned, reached = await _one_cancelled_among(storage, step, savers=4)
                there = set(ids(await storage.list(f"round-{step}")))
                assert there == returned, f"cancelled at step {step}: returned={returned}, committed={there}"
                assert {f"{step}-{n}" for n in range(4) if n != step % 4} <= there
                if not reached:
                    break
            await self._check_still_works(storage)

    async def test_savers_cancelled_together_leave_the_storage_usable(self) -> None:
        """All savers of a scope go at once; each is there or not, as it was told, and the next one is served."""
        async with self.open_storage() as storage:
            for step in range(0, 60, 3):
                returned: set[str] = set()
                instrument = _CancelAtStep(step)
                await _run_with(instrument, lambda step=step, told=returned: _save_many(storage, step, told))  # type: ignore[misc]
                assert set(ids(await storage.list(f"round-{step}"))) == returned
                if not instrument.reached:
                    break
            await self._check_still_works(storage)

    async def test_a_verb_called_in_a_cancelled_scope_raises_and_changes_nothing(self) -> None:
        """Every verb is a checkpoint."""
        async with self.open_storage() as storage:
            await save_all(storage, (make_commit("a"), make_commit("b", "a")))
            lease = await storage.acquire_lease("leased", owner="a")
            verbs: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: storage.save(make_commit("c", "b")),
                lambda: storage.load("a"),
                lambda: storage.latest(workflow_id="workflow"),
                storage.list,
                lambda: storage.lineage("b"),
                lambda: storage.children("a"),
                lambda: storage.delete("b"),
                lambda: storage.prune(keep_last=1),
                lambda: storage.acquire_lease("free", owner="b"),
                lambda: storage.renew_lease(lease),
                lambda: storage.release_lease(lease),
                lambda: storage.write_journal([make_entry(0, "b", workflow_id="leased")], lease=lease),
                lambda: storage.read_journal("leased", "b"),
            )
            for number, verb in enumerate(verbs):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await verb()
                assert scope.cancelled_caught, f"verb {number} is no checkpoint"
            assert ids(await storage.list()) == ["b", "a"]
            assert await storage.read_journal("leased", "b") == []
            assert (await _is_held(storage, "leased"), await _is_held(storage, "free")) == (True, False)

    async def _check_still_works(self, storage: CheckpointStorage) -> None:
        header = await storage.save(make_commit("after all", workflow_id="fresh"))
        assert header.sequence == 1
        assert (await storage.load("after all")).contents == {"state/last": b"after all"}


async def _is_held(storage: CheckpointStorage, workflow_id: str) -> bool:
    try:
        lease = await storage.acquire_lease(workflow_id, owner="somebody who asks")
    except LeaseHeldError:
        return True
    await storage.release_lease(lease)
    return False


class _CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the n-th step that any task takes."""

    def __init__(self, step: int) -> None:
        self.scope = trio.CancelScope()
        self.reached = False
        self._left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's signature
        self._left -= 1
        if self._left <= 0 and not self.reached:
            self.reached = True
            self.scope.cancel(reason="the sweep reached its step")


async def _run_with(instrument: _CancelAtStep, verb: Callable[[], Awaitable[object]]) -> bool:
    returned = False
    trio.lowlevel.add_instrument(instrument)
    try:
        with instrument.scope:
            await verb()
            returned = True
    finally:
        trio.lowlevel.remove_instrument(instrument)
    return returned


async def cancelled_at(step: int, verb: Callable[[], Awaitable[object]]) -> tuple[bool, bool]:
    """Run a verb and cancel it before the n-th step of the scheduler; say whether it returned, and was that long."""
    instrument = _CancelAtStep(step)
    returned = await _run_with(instrument, verb)
    return returned, instrument.reached


async def _one_cancelled_among(storage: CheckpointStorage, step: int, savers: int) -> tuple[set[str], bool]:
    instrument = _CancelAtStep(step)
    returned: set[str] = set()

    async def save(number: int) -> None:
        with instrument.scope if number == step % savers else trio.CancelScope():
            returned.add((await storage.save(make_commit(f"{step}-{number}", workflow_id=f"round-{step}"))).id)

    trio.lowlevel.add_instrument(instrument)
    try:
        async with trio.open_nursery() as nursery:
            for number in range(savers):
                nursery.start_soon(save, number)
    finally:
        trio.lowlevel.remove_instrument(instrument)
    return returned, instrument.reached


async def _save_many(storage: CheckpointStorage, step: int, returned: set[str]) -> None:
    async def save(number: int) -> None:
        returned.add((await storage.save(make_commit(f"{step}-{number}", workflow_id=f"round-{step}"))).id)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(save, number)

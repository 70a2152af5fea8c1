"""The actors of one run, and the barrier at which the runner waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import trio

from actorflow.core.effects import REMOVED, Finished
from actorflow.executors.executor import Executor
from actorflow.runtime.actor import Actor
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.handover import Handover
from actorflow.runtime.run_port import RunPort
from actorflow.runtime.slot import Slot
from actorflow.runtime.supervision import Supervision

__all__ = ["ActorGroup"]


@attrs.define(eq=False)
class ActorGroup:
    """Delivers a superstep to the actors and waits for them.

    Attributes:
        executors: The workflow's executors by id.
        states: Those that keep a state.
        run_port: What handlers see.
        supervision: Sees deliveries through, where a policy or a limit says so.
        keep: Stores a delivery that has finished, before its actor's next one begins; None to store none.
        slots: The deliveries under way, in canonical order; none between supersteps.
        at_work: Executors whose task has not ended, by id.
        all_ended: Called when the last of them has.
    """

    executors: Mapping[str, Executor]
    states: ExecutorStates
    run_port: RunPort
    supervision: Supervision
    keep: Callable[[Mapping[int, Finished]], Awaitable[None]] | None = None
    slots: Sequence[Slot] = ()
    at_work: dict[str, Actor] = attrs.Factory(dict)
    all_ended: Callable[[], None] | None = None
    _actors: dict[str, Actor] = attrs.Factory(dict)
    _busy: int = 0
    _barrier: Handover[None] = attrs.Factory(Handover)

    async def work(self, nursery: trio.Nursery) -> bool:
        """Deliver `slots` and wait until every actor has finished its own.

        Returns:
            False as soon as one has failed; others may still be at work.
        """
        batches: dict[str, list[Slot]] = {}
        for slot in self.slots:
            batches.setdefault(slot.delivery.target_id, []).append(slot)
        self._busy = len(batches)
        for executor_id, slots in batches.items():
            actor = self._actors.get(executor_id)
            if actor is not None:
                actor.wake(slots)
                continue
            actor = self._actors[executor_id] = self.at_work[executor_id] = Actor(
                self.executors[executor_id], self.run_port, self.states, self, self.supervision
            )
            nursery.start_soon(actor.main, slots, name=f"actor:{executor_id}")
        await self._barrier.take()
        return not self._busy

    async def delivery_finished(self, slot: Slot) -> None:
        """An actor finished one delivery."""
        if self.keep is not None and slot.finished is not None:
            await self.keep({slot.index: slot.finished})

    def actor_done(self) -> None:
        """An actor finished its deliveries; the last one opens the barrier."""
        self._busy -= 1
        if not self._busy:
            self._barrier.give(None)

    def actor_failed(self) -> None:
        """An actor cannot finish its deliveries: the superstep is lost, so the barrier opens at once."""
        self._barrier.give(None)

    def actor_ended(self, actor: Actor) -> None:
        """An actor's task is about to end."""
        del self.at_work[actor.executor.id]
        if not self.at_work and self.all_ended is not None:
            self.all_ended()

    def stop(self) -> None:
        """Let the parked actors end."""
        for actor in self._actors.values():
            actor.stop()

    def dismiss(self) -> None:
        """Forget the actors and the runner, which know this group: without this a run would be cyclic garbage."""
        self._actors.clear()
        self.keep = self.all_ended = self.supervision.record = None

    @property
    def touched(self) -> Iterator[str]:
        """Executors whose own state may not be the committed one: those at work, and those given what they had finished."""
        yield from self._actors
        yield from (slot.delivery.target_id for slot in self.slots)

    @property
    def changed_by_stop(self) -> Iterator[str]:
        """Executors whose `on_stop` may have changed their own state after it was committed."""
        return (id_ for id_, actor in self._actors.items() if type(actor.executor).on_stop is not Executor.on_stop)

    @property
    def failed(self) -> list[Slot]:
        """Deliveries that failed, in canonical order."""
        return [slot for slot in self.slots if slot.error is not None]

    @property
    def finished(self) -> dict[int, Finished]:
        """Deliveries that are finished, by their place in the canonical order."""
        return {slot.index: slot.finished for slot in self.slots if slot.finished is not None}

    @property
    def states_after(self) -> dict[str, Any]:
        """The state that finished deliveries left each stateful executor in."""
        return {
            each.delivery.target_id: each.state_after
            for each in self.finished.values()
            if each.state_after is not REMOVED
        }

    @property
    def stop_errors(self) -> list[Exception]:
        """What `on_stop` hooks raised."""
        return [actor.stop_error for actor in self._actors.values() if actor.stop_error is not None]

    def first_error(self) -> BaseException:
        """The error to raise when handlers failed: the first in canonical order; the others are named in its notes."""
        first, *others = self.failed
        assert first.error is not None
        for slot in others:
            first.error.add_note(f"executor {slot.delivery.target_id!r} failed in the same superstep: {slot.error!r}")
        return first.error

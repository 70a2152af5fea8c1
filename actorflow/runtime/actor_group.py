"""The actors of one run, and the barrier at which the runner waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs
import trio

from actorflow.core.effects import REMOVED, Finished
from actorflow.core.snapshot import Section
from actorflow.executors.executor import Executor
from actorflow.graph.nesting import Names
from actorflow.runtime.actor import Actor
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.handover import Handover
from actorflow.runtime.places import Place, is_inside
from actorflow.runtime.run_port import RunPort
from actorflow.runtime.slot import Slot
from actorflow.runtime.supervision import Supervision

__all__ = ["ActorGroup"]

_Address = tuple[Names, str]
"""An executor: the workflow of the tree it is in, and its id."""


@attrs.define(eq=False)
class ActorGroup:
    """Delivers a superstep to the actors and waits for them.

    Attributes:
        states: The executors that keep a state.
        port_of: What handlers of a workflow of the tree see.
        supervision: Sees deliveries through, where a policy or a limit says so.
        keep: Stores a delivery that has finished, before its actor's next one begins; None to store none.
        slots: The deliveries under way, in canonical order; none between supersteps.
        all_ended: Called when the task of the last actor has ended.
    """

    states: ExecutorStates
    port_of: Callable[[Place], RunPort]
    supervision: Supervision
    keep: Callable[[Mapping[int, Finished]], Awaitable[None]] | None = None
    slots: Sequence[Slot] = ()
    all_ended: Callable[[], None] | None = None
    _actors: dict[_Address, Actor] = attrs.Factory(dict)
    _leaving: list[Actor] = attrs.Factory(list)  # those that have not ended, or not well
    _busy: int = 0
    _alive: int = 0  # tasks that have not ended
    _barrier: Handover[None] = attrs.Factory(Handover)

    async def work(self, nursery: trio.Nursery) -> bool:
        """Deliver `slots` and wait until every actor has finished its own.

        Returns:
            False as soon as one has failed; others may still be at work.
        """
        batches: dict[_Address, list[Slot]] = {}
        for slot in self.slots:
            executor_id, place = slot.delivery.target_id, slot.place
            if executor_id not in place.definition.children:
                batches.setdefault((place.names, executor_id), []).append(slot)
        if not batches:
            await trio.lowlevel.checkpoint()
            return True
        self._busy = len(batches)
        for address, slots in batches.items():
            actor = self._actors.get(address)
            if actor is not None:
                actor.wake(slots)
                continue
            names, executor_id = address
            place = slots[0].place
            actor = self._actors[address] = Actor(
                place.executors[executor_id], self.port_of(place), self.states, self, self.supervision
            )
            self._alive += 1
            nursery.start_soon(actor.main, slots, name=f"actor:{'/'.join((*names, executor_id))}")
        await self._barrier.take()
        return not self._busy

    def actor_done(self) -> None:
        """An actor finished its deliveries; the last one opens the barrier."""
        self._busy -= 1
        if not self._busy:
            self._barrier.give(None)

    def actor_failed(self) -> None:
        """An actor cannot finish its deliveries: the superstep is lost, so the barrier opens at once."""
        self._barrier.give(None)

    @property
    def at_work(self) -> list[str]:
        """Executors whose task has not ended."""
        actors = (*self._actors.values(), *self._leaving)
        return ["/".join((*actor.run_port.place.path, actor.executor.id)) for actor in actors if not actor.ended]

    def stop(self) -> None:
        """Let the parked actors end."""
        for actor in self._actors.values():
            actor.stop()

    def actor_ended(self, actor: Actor) -> None:
        """An actor's task is about to end; of one that leaves before the run does, only an error is still wanted."""
        if actor in self._leaving and actor.stop_error is None:
            self._leaving.remove(actor)
        self._alive -= 1
        if self.all_ended is not None and not self._alive:
            self.all_ended()

    def stop_inside(self, gone: Collection[Names]) -> None:
        """Let the actors of children end that are gone, and of what runs inside them."""
        if not gone:
            return
        for address in [each for each in self._actors if is_inside(each[0], gone)]:
            actor = self._actors.pop(address)
            self._leaving.append(actor)
            actor.stop()

    def let_go(self) -> None:
        """Let the parked actors end whose executors would not notice; they begin again when they are next woken."""
        for address, actor in [*self._actors.items()]:
            if not actor.has_hooks:
                del self._actors[address]
                self._leaving.append(actor)
                actor.stop()

    def dismiss(self) -> None:
        """Forget the actors and the runner, which know this group: without this a run would be cyclic garbage."""
        self._actors.clear()
        self._leaving.clear()
        self.keep = self.all_ended = self.supervision.record = None

    @property
    def touched(self) -> Iterator[Section]:
        """Where the state of an executor may not be the committed one: those at work, and those given what they had finished."""
        yield from (actor.state_section for actor in self._actors.values())
        yield from (slot.place.state_section(slot.delivery.target_id) for slot in self.slots)

    @property
    def changed_by_stop(self) -> Iterator[Section]:
        """Where `on_stop` may have changed an executor's own state after it was committed."""
        return (
            actor.state_section
            for actor in self._actors.values()
            if type(actor.executor).on_stop is not Executor.on_stop
        )

    @property
    def failed(self) -> list[Slot]:
        """Deliveries that failed, in canonical order."""
        return [slot for slot in self.slots if slot.error is not None]

    @property
    def finished(self) -> dict[int, Finished]:
        """Deliveries that are finished, by their place in the canonical order."""
        return {slot.index: slot.finished for slot in self.slots if slot.finished is not None}

    @property
    def states_after(self) -> dict[Section, Any]:
        """The state that finished deliveries left each stateful executor in."""
        return {
            slot.place.state_section(slot.delivery.target_id): slot.finished.state_after
            for slot in self.slots
            if slot.finished is not None and slot.finished.state_after is not REMOVED
        }

    @property
    def done(self) -> dict[Names, list[Finished]]:
        """Finished deliveries in canonical order, by workflow of the tree."""
        done: dict[Names, list[Finished]] = {}
        for slot in self.slots:
            if slot.finished is not None:
                done.setdefault(slot.place.names, []).append(slot.finished)
        return done

    @property
    def stop_errors(self) -> list[Exception]:
        """What `on_stop` hooks raised."""
        actors = (*self._actors.values(), *self._leaving)
        return [actor.stop_error for actor in actors if actor.stop_error is not None]

    def first_error(self) -> BaseException:
        """The error to raise when handlers failed: the first in canonical order; the others are named in its notes."""
        first, *others = self.failed
        assert first.error is not None
        for slot in others:
            first.error.add_note(f"executor {slot.delivery.target_id!r} failed in the same superstep: {slot.error!r}")
        return first.error

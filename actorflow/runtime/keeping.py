"""Keeping what an unfinished superstep has done: written to the journal as it happens, and taken up when it is begun again (P6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from actorflow.checkpoint.records import CheckpointID
from actorflow.core.effects import Finished
from actorflow.errors import CheckpointError, CheckpointNotFoundError, LeaseLostError
from actorflow.graph.nesting import plan
from actorflow.runtime.actor_group import ActorGroup
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.journal import Journal
from actorflow.runtime.recorder import Recorder
from actorflow.runtime.workflow_core import WorkflowCore

__all__ = ["Keeping"]

_NOTHING: Mapping[int, Finished] = MappingProxyType({})


@attrs.define(eq=False)
class Keeping:
    """Keeps the finished deliveries of one run's supersteps, and what was tried in them.

    Attributes:
        core: The workflow.
        emitter: Told of what cannot be kept.
        fail: Fails the run.
        actors: Whose work is kept.
        recorder: Knows whether the storage has all that is committed; None until the run is open.
        journal: Where to; None to keep it in this process only.
    """

    core: WorkflowCore
    emitter: Emitter
    fail: Callable[[BaseException], None] | None
    actors: ActorGroup | None = None
    recorder: Recorder | None = None
    journal: Journal | None = None
    _pruned: CheckpointID | None = None

    async def keep(self, finished: Mapping[int, Finished] = _NOTHING) -> None:
        """Store a finished delivery of the superstep under way, and what was tried, before its actor goes on."""
        if self.recorder is None or not self.recorder.stands_on_head:
            return  # told to go on without a checkpoint: there is nothing stored that this could follow
        try:
            await self._write(finished)
        except LeaseLostError as error:
            self._fail(error)
        except CheckpointError as error:
            await self.emitter.save_failed(error)
            if self.core.definition.checkpoint_failures == "raise":
                self._fail(error)

    async def take_up(self) -> None:
        """Take over what this superstep had finished when it did not commit."""
        standing, actors = self.core.standing, self._actors
        kept, standing.finished = standing.finished, {}
        # By delivery and not by place: answers that were given since may have moved it.
        by_delivery = {id(each.delivery): each for each in kept.values()}
        for slot in actors.slots:
            slot.finished = by_delivery.get(id(slot.delivery))
        if standing.trials:
            members = [((each.place.names, each.delivery.target_id), each.delivery) for each in actors.slots]
            standing.trials = standing.trials.placed(members)
        if actors.keep is not None or standing.trials:
            await self.keep(actors.finished if actors.keep is not None else _NOTHING)
        for section, state in actors.states_after.items():
            await self.core.states.give(section, state)

    async def write_what_is_left(self) -> None:
        """Write what is finished of a superstep that will not commit.

        Raises:
            CheckpointError: The storage failed.
            LeaseLostError: Another process has the workflow id now.
        """
        if self.recorder is not None and self.recorder.stands_on_head:
            await self._write(self.finished_here())

    def finished_here(self) -> dict[int, Finished]:
        """What is finished of the deliveries the workflow stands before; it may have gone on, or back, since they began."""
        inflight = enumerate(plan(self.core.definition, self.core.standing.snapshot))
        places = {index: each.delivery for index, each in inflight}
        return {
            slot.index: slot.finished
            for slot in self._actors.slots
            if slot.finished is not None and places.get(slot.index) is slot.delivery
        }

    def dismiss(self) -> None:
        """Forget the runner and the actors, which know this: without this a run would be cyclic garbage."""
        self.fail = self.actors = self.recorder = None

    async def _write(self, finished: Mapping[int, Finished]) -> None:
        trials, head_id = self.core.standing.trials, self.core.standing.head_id
        if self.journal is None or not (finished or trials) or (head_id is not None and head_id == self._pruned):
            return
        slots = self._actors.slots
        entries = {index: (slots[index].place.names, each) for index, each in finished.items()}
        try:
            await self.journal.write(head_id, entries, trials)
        except CheckpointNotFoundError as error:
            self._pruned = head_id  # nothing can be resumed there, and the next commit stands alone
            await self.emitter.save_failed(error)

    def _fail(self, error: BaseException) -> None:
        assert self.fail is not None
        self.fail(error)

    @property
    def _actors(self) -> ActorGroup:
        assert self.actors is not None
        return self.actors

"""What a run does about the tree of workflows that one workflow is: deliveries of all levels, inputs of children, what is told.

For a workflow that holds none, all of this comes down to the workflow itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import attrs

from actorflow.core.effects import REMOVED, Effects, Finished
from actorflow.core.snapshot import Snapshot
from actorflow.core.subworkflows import LocatedRequest, path_of
from actorflow.errors import RequestNotFoundError, ResponseTypeError
from actorflow.events import ExecutorCompletedEvent, ExecutorInvokedEvent
from actorflow.graph.nesting import Names, plan
from actorflow.graph.tree_result import Completed
from actorflow.runtime.opening import Located, check_input
from actorflow.runtime.run_port import Ports
from actorflow.runtime.slot import Slot
from actorflow.runtime.workflow_core import WorkflowCore

__all__ = ["Tree"]


@attrs.define(eq=False)
class Tree:
    """The tree of workflows, as one run goes through it.

    Attributes:
        core: The workflow at the top.
        ports: What handlers at each level see.
    """

    core: WorkflowCore
    ports: Ports

    def slots(self) -> list[Slot]:
        """The deliveries of the next superstep, in canonical order."""
        definition, places, snapshot = self.core.definition, self.core.places, self._snapshot
        if not definition.children:
            top, prefix = places.top, snapshot.id_prefix
            return [Slot(index, delivery, top, f"{prefix}{index}") for index, delivery in enumerate(snapshot.inflight)]
        planned = enumerate(plan(definition, snapshot))
        return [Slot(index, each.delivery, places.at(each.names), each.delivery_id) for index, each in planned]

    async def prepare(self) -> None:
        """Give executors of children that are new here the state that the workflow stands on.

        Raises:
            CheckpointError: A hook refused.
        """
        states = self.core.states
        await states.remember_initial()
        if states.stale:
            await states.put_back(self._snapshot, sorted(states.stale))

    async def hand_in(self, slots: Sequence[Slot]) -> None:
        """Let the executors that hold workflows take what was delivered to them: it is the commit that gives it to a child."""
        for slot in slots:
            executor_id = slot.delivery.target_id
            if executor_id in slot.place.definition.children and slot.finished is None:
                await self._hand_in_one(slot, executor_id)

    async def _hand_in_one(self, slot: Slot, executor_id: str) -> None:
        nesting, value = slot.place.definition.children[executor_id], slot.delivery.value
        await self.ports.at(slot.place).emitter.emit(
            ExecutorInvokedEvent, executor_id=executor_id, data=value, delivery_id=slot.delivery_id
        )
        inner = self._snapshot.find(slot.place.names)
        assert inner is not None
        path = (*slot.place.path, executor_id)
        try:
            check_input(nesting, path, inner, value)
        except (RequestNotFoundError, ResponseTypeError) as error:
            error.add_note(f"raised by executor {'/'.join(path)!r}, which holds a workflow")
            slot.error = error
        else:
            slot.finished = Finished(slot.delivery, Effects(), {}, REMOVED)

    def forget(self, completed: Iterable[Completed]) -> Collection[Names]:
        """Let go of children that are of no further use; returns which, for their actors to end."""
        gone = {each.names for each in completed if each.is_gone}
        if gone:
            self.ports.forget(gone)
            self.core.places.forget(gone)
        return gone

    async def tell_dropped(self, dropped: Iterable[Located]) -> None:
        """Tell of messages that nothing took."""
        for names, each in dropped:
            await self.ports.emitter.inside(path_of(names)).tell_dropped([each])

    async def tell_requests(self, requests: Iterable[LocatedRequest]) -> None:
        """Tell of open requests."""
        for each in requests:
            await self.ports.emitter.inside(path_of(each.names)).tell_requests([each.request])

    async def tell_completed(self, completed: Iterable[Completed]) -> None:
        """Tell of children that have nothing left to do."""
        for each in completed:
            *path, executor_id = path_of(each.names)
            await self.ports.emitter.inside(tuple(path)).emit(
                ExecutorCompletedEvent,
                executor_id=executor_id,
                sent=each.sent,
                outputs=each.outputs,
                delivery_id=each.delivery_id,
            )

    @property
    def _snapshot(self) -> Snapshot:
        return self.core.standing.snapshot

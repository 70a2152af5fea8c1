"""What handlers see of the run they work in: the port behind every `WorkflowContext` of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs
import trio

from actorflow.core.effects import Output, OutputKind
from actorflow.core.merge import Reducer
from actorflow.core.snapshot import STATE, Snapshot
from actorflow.errors import RequestIdError
from actorflow.events import IntermediateEvent, OutputEvent, WorkflowEvent
from actorflow.graph.nesting import Names, open_requests
from actorflow.runtime.definition import Definition
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.places import Place, Places, is_inside
from actorflow.runtime.standing import Standing

__all__ = ["Ports", "RunPort"]


@attrs.define(eq=False)
class RunPort:
    """One run, as its handlers see it.

    Attributes:
        place: The workflow of the tree that the handlers belong to.
        standing: The committed state.
        emitter: Where outputs and events go.
        config: The mapping given to this run.
        holder: How the workflow that it runs inside sees the run, if it runs inside one.
    """

    place: Place
    standing: Standing
    emitter: Emitter
    config: Mapping[str, Any]
    holder: RunPort | None = None
    _latest: Snapshot = attrs.Factory(Snapshot)
    _open: tuple[int, frozenset[str]] = (0, frozenset())

    @property
    def definition(self) -> Definition:
        """Reducers, and who sees whose outputs."""
        return self.place.definition

    @property
    def snapshot(self) -> Snapshot:
        """The committed state of this workflow of the tree; of one that is gone, as `on_stop` may find it, the last one."""
        snapshot = self.standing.snapshot
        if not self.place.names:
            return snapshot
        found = snapshot.find(self.place.names)
        if found is not None:
            self._latest = found
        return self._latest

    @property
    def superstep(self) -> int:
        """Number of the superstep under way, as this workflow counts."""
        return self.emitter.superstep if not self.place.names else self.snapshot.superstep + 1

    @property
    def state(self) -> Mapping[str, Any]:
        """The shared state as the previous superstep left it."""
        return self.snapshot.table(STATE)

    @property
    def reducers(self) -> Mapping[str, Reducer]:
        """Reducers by key."""
        return self.definition.reducers

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        return self.definition.output_kind(executor_id)

    def check_request_id(self, request_id: str) -> None:
        """Refuse the id of a request that is open already, here or anywhere that is asked beside this workflow."""
        if request_id in self.snapshot.requests or request_id in self._open_outside():
            raise RequestIdError(f"request id {request_id!r} belongs to an open request; give each request its own")

    def _open_outside(self) -> frozenset[str]:
        """Ids of the requests that the outside world is asked, if this workflow's are among them."""
        if self.holder is not None:
            nesting = self.holder.definition.children[self.place.path[-1]]
            return self.holder._open_outside() if nesting.propagates else frozenset()  # noqa: SLF001 - its own kind
        if not self.definition.children:
            return frozenset()
        if self._open[0] != self.emitter.superstep:
            requests = open_requests(self.definition, self.snapshot)
            self._open = (self.emitter.superstep, frozenset(each.request.id for each in requests))
        return self._open[1]

    async def stream_output(self, output: Output, attempt: int, delivery_id: str) -> None:
        """Hand an output to whoever listens."""
        if output.kind is OutputKind.HIDDEN:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        if self.holder is not None and output.kind is OutputKind.OUTPUT:
            executor_id = self.place.path[-1]
            if self.holder.definition.children[executor_id].is_direct:
                above = Output(executor_id, output.value, self.holder.output_kind(executor_id))
                await self.holder.stream_output(above, attempt, delivery_id)
                return
        kind = OutputEvent if output.kind is OutputKind.OUTPUT else IntermediateEvent
        await self.emitter.emit_output(
            kind, executor_id=output.executor_id, data=output.value, attempt=attempt, delivery_id=delivery_id
        )

    async def stream_event(self, event: WorkflowEvent, delivery_id: str | None) -> None:
        """Hand a user's event to whoever listens."""
        await self.emitter.emit_user_event(event, delivery_id)


@attrs.define(eq=False)
class Ports:
    """The ports of one run, by workflow of the tree.

    Attributes:
        places: The workflows.
        standing: The committed state.
        emitter: Tells of the one at the top.
        config: The mapping given to this run.
    """

    places: Places
    standing: Standing
    emitter: Emitter
    config: Mapping[str, Any]
    _ports: dict[Names, RunPort] = attrs.Factory(dict)

    def at(self, place: Place) -> RunPort:
        """What the handlers of one workflow see."""
        known = self._ports.get(place.names)
        if known is None:
            known = self._ports[place.names] = self._make(place)
        return known

    def forget(self, gone: Collection[Names]) -> None:
        """Let the ports of children go, and those of what runs inside them."""
        for names in [each for each in self._ports if is_inside(each, gone)]:
            del self._ports[names]

    def _make(self, place: Place) -> RunPort:
        if not place.names:
            return RunPort(place, self.standing, self.emitter, self.config)
        holder = self.at(self.places.at(place.names[:-1]))
        return RunPort(place, self.standing, self.emitter.inside(place.path), self.config, holder)

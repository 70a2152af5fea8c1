"""The children of one level in one commit: what they are given, whose turn it is, and what they are doing after it.

An executor's inputs wait for their turn: an executor with one child that keeps its state gives it the next input when it has
nothing left to do; one with a child for each input has at most `concurrency` of them at work. A child that only waits for an
answer takes up no place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from actorflow.core.effects import REMOVED, Delivery, Finished, PendingRequest
from actorflow.core.snapshot import (
    CHILDREN,
    COUNT,
    INFLIGHT,
    INPUTS,
    REQUESTS,
    RUN,
    STEPS,
    Changes,
    RunMark,
    Snapshot,
    inside,
    split_table,
)
from actorflow.core.subworkflows import ChildInput, SubWorkflowResponse, child_name, executor_of
from actorflow.graph.committing import drop_joins
from actorflow.graph.nesting import Names, Scheme, is_asking
from actorflow.graph.routing import Dropped

__all__ = ["Children"]


@attrs.define(eq=False)
class Children:
    """What runs inside the executors of one workflow of the tree.

    Attributes:
        scheme: The workflow's.
        snapshot: Its state before the commit.
        names: Where it is.
        changes: Collects what changes in it and below.
        dropped: Collects messages that nothing took.
    """

    scheme: Scheme
    snapshot: Snapshot
    names: Names
    changes: Changes
    dropped: list[tuple[Names, Dropped]]
    _working: dict[str, bool] = attrs.Factory(dict)
    _asking: dict[str, bool] = attrs.Factory(dict)
    _expecting: dict[str, bool] = attrs.Factory(dict)

    def _answers(self, own: Sequence[Finished]) -> Iterator[SubWorkflowResponse]:
        """The answers among what was delivered to executors that hold workflows."""
        for each in own:
            nesting, value = self.scheme.children.get(each.delivery.target_id), each.delivery.value
            if nesting is not None and not nesting.propagates and isinstance(value, SubWorkflowResponse):
                yield value

    def answered(self, own: Sequence[Finished]) -> Iterator[PendingRequest]:
        """The requests of children that were answered in this superstep: no deadline overtakes the answer."""
        for response in self._answers(own):
            request = self.snapshot.get((f"@{response.child}|{REQUESTS}", response.request_id))
            if request is not REMOVED and response.is_for(request):
                yield request

    def take_inputs(self, own: Sequence[Finished]) -> None:
        """Put what was delivered to executors that hold workflows in line, and start what has its turn."""
        prefix = self.snapshot.id_prefix
        waiting: dict[str, ChildInput] = {}
        for number, each in enumerate(own):
            executor_id, value = each.delivery.target_id, each.delivery.value
            nesting = self.scheme.children.get(executor_id)
            if nesting is None:
                continue
            if isinstance(value, SubWorkflowResponse) and not nesting.propagates:
                self._answer(value, executor_id)
                continue
            count = self.changes.get(COUNT, self.snapshot.get(COUNT))
            turn = self.changes[COUNT] = 1 if count is REMOVED else count + 1
            waiting[child_name(executor_id, turn)] = ChildInput(executor_id, value, f"{prefix}{number}")
        self._start(waiting)

    def _start(self, fresh: Mapping[str, ChildInput]) -> None:
        queue = self.snapshot.table(INPUTS)
        if not queue and not fresh:
            return
        places = self._places({waiting.executor_id for waiting in fresh.values()})
        for turn, waiting in queue.items():
            if not any(places.values()):
                break
            if places.get(waiting.executor_id):
                places[waiting.executor_id] -= 1
                self._begin(turn, waiting)
                self.changes[INPUTS, turn] = REMOVED
        for turn, waiting in fresh.items():
            if places[waiting.executor_id]:
                places[waiting.executor_id] -= 1
                self._begin(turn, waiting)
            else:
                self.changes[INPUTS, turn] = waiting

    def _places(self, wanted: set[str]) -> dict[str, int]:
        """How many more children each executor may have at work; left out are those with nothing new.

        Args:
            wanted: The executors that have got inputs now. Where inputs wait, none was free before this superstep, so that
                besides these only an executor may begin whose child has come to rest in it.
        """
        rested = {executor_of(child) for child, works in self._working.items() if not works}
        places = {}
        for executor_id in wanted | rested:
            nesting = self.scheme.children[executor_id]
            places[executor_id] = nesting.concurrency if nesting.isolates else 1
        for child in self.alive():
            executor_id = executor_of(child)
            if places.get(executor_id) and self.works(child):
                places[executor_id] -= 1
        return places

    def _begin(self, turn: str, given: ChildInput) -> None:
        nesting = self.scheme.children[given.executor_id]
        child = turn if nesting.isolates else child_name(given.executor_id, None)
        snapshot = self.snapshot.children.get(child, Snapshot())
        changes = {} if nesting.isolates else self._changes_inside(child)
        superstep = changes.get(STEPS, snapshot.superstep)
        graph = nesting.scheme.graph
        self.dropped += [((*self.names, child), each) for each in drop_joins(graph, snapshot, changes)]
        changes[INFLIGHT] = (Delivery(graph.start_id, given.value),)
        changes[RUN] = RunMark(given.origin, superstep)
        self.changes[CHILDREN, child] = True
        self.changes.update(inside(child, changes))
        self._working[child] = True

    def _answer(self, response: SubWorkflowResponse, executor_id: str) -> None:
        """Give an answer to the child that asked; one that is late, or a second one, finds nothing open any more."""
        asker = response.child.partition(":")[0]
        table = f"@{response.child}|"
        section = (f"{table}{REQUESTS}", response.request_id)
        request = self.changes.get(section, self.snapshot.get(section))
        if request is REMOVED or not response.is_for(request):
            self.dropped.append((self.names, Dropped("discarded", response, None, executor_id)))
            return
        place = (f"{table}{INFLIGHT[0]}", INFLIGHT[1])
        inflight = self.changes.get(place, self.snapshot.get(place))
        answer = Delivery(request.executor_id, response.value, (), request)
        child = self.snapshot.find(response.child.split(":"))
        assert child is not None
        assert child.mark is not None
        # Each turn has its own limit of supersteps.
        self.changes[f"{table}{RUN[0]}", RUN[1]] = RunMark(child.mark.origin, child.superstep)
        self.changes[section] = REMOVED
        self.changes[place] = (answer,) if inflight is REMOVED else (*inflight, answer)
        self._working[asker] = True

    def note(self, child: str, *, is_at_work: bool, is_asking: bool, is_expecting: bool) -> None:
        """Remember what a child that was committed is doing now."""
        self._working[child], self._asking[child], self._expecting[child] = is_at_work, is_asking, is_expecting

    def alive(self) -> Iterator[str]:
        """The children there are after this commit."""
        for child in self.snapshot.children:
            if self.changes.get((CHILDREN, child)) is not REMOVED:
                yield child
        for table, name in self.changes:
            if table == CHILDREN and name not in self.snapshot.children:
                yield name

    def works(self, child: str) -> bool:
        """Whether a child has anything to do in the next superstep."""
        known = self._working.get(child)
        return self.snapshot.children[child].is_busy if known is None else known

    def asks(self, child: str) -> bool:
        """Whether a child waits for an answer from outside this workflow; one that does not ask through it is passed over."""
        nesting, inner = self.scheme.children[executor_of(child)], self.snapshot.children.get(child)
        if not nesting.propagates or inner is None:
            return False
        known = self._asking.get(child)
        return is_asking(nesting.scheme, inner) if known is None else known

    def expects(self, child: str) -> bool:
        """Whether a deadline will wake a child, or one inside it, whoever is to answer."""
        known, inner = self._expecting.get(child), self.snapshot.children.get(child)
        return inner is not None and inner.next_due() is not None if known is None else known

    def awaited(self) -> list[str]:
        """Executors that may still send because of what runs inside them."""
        if not self.scheme.children:
            return []
        alive = [executor_of(child) for child in self.alive() if self.works(child) or self.asks(child)]
        return list(dict.fromkeys(alive))

    def _changes_inside(self, child: str) -> Changes:
        """What this commit has changed in a child so far, addressed from there."""
        prefix = len(child) + 2
        return {
            (table[prefix:], name): value
            for (table, name), value in self.changes.items()
            if split_table(table)[0] == (child,)
        }

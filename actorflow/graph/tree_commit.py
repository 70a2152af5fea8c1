"""Committing a superstep of a workflow and of those that run inside its executors, as one.

What a child yielded becomes a message (or an output) of the executor it runs inside, after the messages of the parent's
own deliveries and in the order of the children. An executor's inputs wait for their turn: an executor with one child that
keeps its state gives it the next input when it has nothing left to do; one with a child for each input has at most
`concurrency` of them at work. A child that only waits for an answer takes up no place.

Like `actorflow.graph.committing`, a plain function of values, but for users' conditions.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any

import attrs

from actorflow.core.effects import REMOVED, Delivery, Effects, Finished, Output, OutputKind, PendingRequest, Sent
from actorflow.core.snapshot import (
    CHILDREN,
    COUNT,
    INFLIGHT,
    INPUTS,
    OUTPUTS,
    REQUESTS,
    RUN,
    STEPS,
    TIMERS,
    Changes,
    RunMark,
    Snapshot,
    inside,
    split_table,
)
from actorflow.core.subworkflows import (
    ChildInput,
    LocatedRequest,
    SubWorkflowRequest,
    SubWorkflowResponse,
    child_name,
    executor_of,
    path_of,
)
from actorflow.errors import RequestIdError
from actorflow.graph.abandoning import discard
from actorflow.graph.committing import Result, commit_arrivals, commit_superstep, drop_joins
from actorflow.graph.nesting import Names, Nesting, Scheme, is_asking
from actorflow.graph.routing import Dropped

__all__ = ["Completed", "TreeResult", "commit_tree", "commit_tree_arrivals"]


@attrs.frozen
class Completed:
    """A child that has nothing left to do.

    Attributes:
        names: Where it is.
        is_gone: Whether it is of no further use.
        sent: Messages that its last superstep made the executor send that holds it.
        outputs: Outputs, likewise.
        delivery_id: The delivery that gave the child its last input.
    """

    names: Names
    is_gone: bool
    sent: tuple[Any, ...]
    outputs: tuple[Any, ...]
    delivery_id: str | None


@attrs.define(eq=False)
class TreeResult:
    """What a superstep did.

    Attributes:
        changes: To be committed.
        dropped: Messages that nothing took, and where.
        requests: New requests for the outside world, and where.
        completed: Children that have nothing left to do.
        expired: Requests whose deadline has passed.
    """

    changes: Changes = attrs.Factory(dict)
    dropped: list[tuple[Names, Dropped]] = attrs.Factory(list)
    requests: list[LocatedRequest] = attrs.Factory(list)
    completed: list[Completed] = attrs.Factory(list)
    expired: list[PendingRequest] = attrs.Factory(list)


@attrs.frozen(eq=False)
class _Step:
    """What is committed.

    Attributes:
        done: What deliveries did, in canonical order, by level.
        touched: The levels that anything happens in.
        now: The time.
        settled: Open requests that have an answer already.
        is_superstep: Whether it is a superstep, and not what came due between two.
        answered: Open requests that the deliveries of levels above answer.
    """

    done: Mapping[Names, Sequence[Finished]]
    touched: set[Names]
    now: float
    settled: Collection[PendingRequest]
    is_superstep: bool = True
    answered: Sequence[PendingRequest] = ()


def commit_tree(
    scheme: Scheme,
    snapshot: Snapshot,
    done: Mapping[Names, Sequence[Finished]],
    superstep: int,
    *,
    now: float = 0.0,
    settled: Collection[PendingRequest] = (),
) -> Generator[Any, Any, TreeResult]:
    """Work out what a finished superstep changes.

    Args:
        scheme: The definition's.
        snapshot: The state before it.
        done: What its deliveries did, in canonical order, by level.
        superstep: Its number.
        now: The time, in seconds since 1970 UTC; see `actorflow.graph.committing.commit_superstep`.
        settled: Open requests that have an answer already, likewise.

    Yields:
        What a condition or selection returned; send back its final value.

    Raises:
        Exception: As `actorflow.graph.committing.commit_superstep`.
    """
    if not scheme.children:
        result = yield from commit_superstep(
            scheme.graph,
            snapshot,
            done.get((), ()),
            superstep,
            reducers=scheme.reducers,
            strict=scheme.strict,
            now=now,
            settled=settled,
        )
        return _alone(result)
    touched = {names[:depth] for names in done for depth in range(len(names) + 1)} | {*_due(snapshot, now)}
    return (yield from _commit(scheme, snapshot, _Step(done, touched, now, settled), superstep))


def commit_tree_arrivals(
    scheme: Scheme, snapshot: Snapshot, now: float, settled: Collection[PendingRequest] = ()
) -> Generator[Any, Any, TreeResult]:
    """Work out what changes when timers and deadlines come due between supersteps.

    Args:
        scheme: The definition's.
        snapshot: The state before it.
        now: The time; what is due by then is delivered.
        settled: Open requests that have an answer already.

    Yields:
        Nothing that has to be waited for.

    Raises:
        UndeliverableMessageError: As `actorflow.graph.committing.commit_arrivals`.
    """
    step = _Step({}, {*_due(snapshot, now)}, now, settled, is_superstep=False)
    return (yield from _commit(scheme, snapshot, step, snapshot.superstep))


def _alone(result: Result) -> TreeResult:
    """What a workflow that holds none did: what `_commit` comes down to, at a third of its cost."""
    total = TreeResult(result.changes)
    if result.dropped or result.requests or result.expired:
        total.dropped = [((), each) for each in result.dropped]
        total.requests = [LocatedRequest((), each) for each in result.requests]
        total.expired = [*result.expired]
    return total


def _commit(scheme: Scheme, snapshot: Snapshot, step: _Step, superstep: int) -> Generator[Any, Any, TreeResult]:
    total = TreeResult()
    level = _Level(scheme, snapshot, (), total)
    yield from level.commit(step, superstep)
    _refuse_twins(level.requests)
    total.changes = level.changes
    total.requests = level.requests
    return total


def _due(snapshot: Snapshot, now: float, names: Names = ()) -> Iterator[Names]:
    """The levels that something is due in, or in a level below."""
    due = snapshot.next_due()
    if due is not None and due <= now:
        yield names
        for child, inner in snapshot.children.items():
            yield from _due(inner, now, (*names, child))


def _refuse_twins(requests: Sequence[LocatedRequest]) -> None:
    asked: dict[str, LocatedRequest] = {}
    for each in requests:
        other = asked.setdefault(each.request.id, each)
        if other is not each:
            first, second = ("/".join((*path_of(one.names), one.request.executor_id)) for one in (other, each))
            raise RequestIdError(
                f"executors {first!r} and {second!r} ask under one request id, {each.request.id!r}, in the same superstep; "
                f"give each request its own"
            )


@attrs.define(eq=False)
class _Level:
    """One level of the tree in one commit.

    Attributes:
        scheme: Its own.
        snapshot: Its state before.
        names: Where it is.
        total: Collects what is told of the whole tree.
        changes: What changes here and below, addressed from here.
        requests: New requests that surface here, located from here.
        outputs: What its own executors yielded.
        is_at_work: Whether it has anything to do in the next superstep, here or below.
        is_asking: Whether a request that others may have to answer is open here or below.
    """

    scheme: Scheme
    snapshot: Snapshot
    names: Names
    total: TreeResult
    changes: Changes = attrs.Factory(dict)
    requests: list[LocatedRequest] = attrs.Factory(list)
    outputs: list[Output] = attrs.Factory(list)
    is_at_work: bool = False
    is_asking: bool = False
    _working: dict[str, bool] = attrs.Factory(dict)
    _asking: dict[str, bool] = attrs.Factory(dict)

    def commit(self, step: _Step, superstep: int) -> Generator[Any, Any, None]:
        """Commit the children that took part, then what they and this level's own deliveries did here."""
        own = step.done.get(self.names, ())
        by_children: list[Finished] = []
        if self.scheme.children and own:
            step = attrs.evolve(step, answered=[*step.answered, *self._answered(own)])
        for child in self.snapshot.children:
            if (*self.names, child) in step.touched:
                by_children.append((yield from self._commit_child(child, step)))  # noqa: PERF401 - it yields
        if self.scheme.children:
            self._take_inputs(own)
        result = yield from self._commit_here(step, [*own, *by_children], superstep)
        if self.names:
            self.outputs = list(result.changes.pop((OUTPUTS, str(superstep)), ()))
            if own:
                result.changes[STEPS] = superstep
        self.changes.update(result.changes)
        open_after = {**self.snapshot.requests, **{each.id: each for each in result.requests}}
        for each in result.expired:
            open_after.pop(each.id, None)
        self.is_at_work = self._has_work(result.changes) or any(map(self._works, self._alive()))
        self.is_asking = bool(open_after) or any(map(self._asks, self._alive()))
        self.total.expired += result.expired
        self.total.dropped += [(self.names, each) for each in result.dropped]
        self.requests += [LocatedRequest((), each) for each in result.requests]

    def _commit_here(self, step: _Step, finished: Sequence[Finished], superstep: int) -> Generator[Any, Any, Result]:
        scheme, now, settled = self.scheme, step.now, itertools.chain(step.settled, step.answered)
        if step.is_superstep:
            return (
                yield from commit_superstep(
                    scheme.graph,
                    self.snapshot,
                    finished,
                    superstep,
                    reducers=scheme.reducers,
                    strict=scheme.strict,
                    now=now,
                    settled=settled,
                    awaited=self._awaited(),
                )
            )
        return commit_arrivals(scheme.graph, self.snapshot, now, settled, strict=scheme.strict, awaited=self._awaited())

    def _has_work(self, changes: Changes) -> bool:
        """Whether deliveries or timers are waiting here after this commit."""
        timers = self.snapshot.schedule.timers + sum(
            -1 if value is REMOVED else 1 for (table, _), value in changes.items() if table == TIMERS
        )
        return bool(changes[INFLIGHT]) or timers > 0

    # The children.

    def _commit_child(self, child: str, step: _Step) -> Generator[Any, Any, Finished]:
        """Commit a child; returns what it did here, as if the executor that holds it had done it."""
        executor_id = executor_of(child)
        nesting, snapshot, names = (
            self.scheme.children[executor_id],
            self.snapshot.children[child],
            (*self.names, child),
        )
        level = _Level(nesting.scheme, snapshot, names, self.total)
        try:
            yield from level.commit(step, snapshot.superstep + (names in step.done))
        except Exception as error:
            error.add_note(f"in the workflow inside executor {executor_id!r}")
            raise
        self._working[child], self._asking[child] = level.is_at_work, level.is_asking
        effects = self._effects_of(level, child, executor_id, nesting)
        at_rest = not (level.is_at_work or level.is_asking)
        if at_rest:
            sent, outputs = ([each.value for each in made] for made in (effects.sent, effects.outputs))
            given = snapshot.mark.origin if snapshot.mark is not None else None
            self.total.completed.append(Completed(names, nesting.isolates, tuple(sent), tuple(outputs), given))
        if at_rest and nesting.isolates:
            self._remove(child, level)
        else:
            self.changes.update(inside(child, level.changes))
        return Finished(Delivery(executor_id, None), effects, {}, REMOVED)

    def _effects_of(self, level: _Level, child: str, executor_id: str, nesting: Nesting) -> Effects:
        effects = Effects()
        values = [output.value for output in level.outputs if output.kind is OutputKind.OUTPUT]
        if nesting.is_direct:
            kind = self.scheme.output_kind(executor_id)
            effects.outputs = [Output(executor_id, value, kind) for value in values]
        else:
            effects.sent = [Sent(value) for value in values]
        for each in level.requests:
            path = (child, *each.names)
            if nesting.propagates:
                self.requests.append(LocatedRequest(path, each.request))
            else:
                request = each.request
                effects.sent = sent = effects.sent or []
                told = SubWorkflowRequest(request.id, executor_id, request.data, ":".join(path), request.due)
                sent.append(Sent(told))
        return effects

    def _remove(self, child: str, level: _Level) -> None:
        """Let go of a child and of all it held: nothing can wake it any more."""
        self.total.dropped += level.stranded()
        self.changes[CHILDREN, child] = REMOVED
        self.changes.update(inside(child, dict.fromkeys(level.snapshot.sections(), REMOVED)))

    def stranded(self) -> list[tuple[Names, Dropped]]:
        """Requests below that nobody can answer any more: the messages that told of them found nobody who did."""
        if not self.scheme.children:
            return []
        after = Snapshot()
        after.apply({section: self.snapshot.get(section) for section in self.snapshot.sections()} | self.changes)
        return discard(after, self.names)

    # Inputs.

    def _answers(self, own: Sequence[Finished]) -> Iterator[SubWorkflowResponse]:
        """The answers among what was delivered to executors that hold workflows."""
        for each in own:
            nesting, value = self.scheme.children.get(each.delivery.target_id), each.delivery.value
            if nesting is not None and not nesting.propagates and isinstance(value, SubWorkflowResponse):
                yield value

    def _answered(self, own: Sequence[Finished]) -> Iterator[PendingRequest]:
        """The requests of children that were answered in this superstep: no deadline overtakes the answer."""
        for response in self._answers(own):
            request = self.snapshot.get((f"@{response.child}|{REQUESTS}", response.request_id))
            if request is not REMOVED and response.is_for(request):
                yield request

    def _take_inputs(self, own: Sequence[Finished]) -> None:
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
        for child in self._alive():
            executor_id = executor_of(child)
            if places.get(executor_id) and self._works(child):
                places[executor_id] -= 1
        return places

    def _begin(self, turn: str, given: ChildInput) -> None:
        nesting = self.scheme.children[given.executor_id]
        child = turn if nesting.isolates else child_name(given.executor_id, None)
        snapshot = self.snapshot.children.get(child, Snapshot())
        changes = {} if nesting.isolates else self._changes_inside(child)
        superstep = changes.get(STEPS, snapshot.superstep)
        graph = nesting.scheme.graph
        self.total.dropped += [((*self.names, child), each) for each in drop_joins(graph, snapshot, changes)]
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
            self.total.dropped.append((self.names, Dropped("discarded", response, None, executor_id)))
            return
        place = (f"{table}{INFLIGHT[0]}", INFLIGHT[1])
        inflight = self.changes.get(place, self.snapshot.get(place))
        answer = Delivery(request.executor_id, response.value, (), request)
        child = self.snapshot.find(response.child.split(":"))
        assert child is not None
        assert child.mark is not None
        self.changes[f"{table}{RUN[0]}", RUN[1]] = RunMark(
            child.mark.origin, child.superstep
        )  # each turn has its limit
        self.changes[section] = REMOVED
        self.changes[place] = (answer,) if inflight is REMOVED else (*inflight, answer)
        self._working[asker] = True

    # What the children are doing, after this commit.

    def _alive(self) -> Iterator[str]:
        """The children there are after this commit."""
        for child in self.snapshot.children:
            if self.changes.get((CHILDREN, child)) is not REMOVED:
                yield child
        for table, name in self.changes:
            if table == CHILDREN and name not in self.snapshot.children:
                yield name

    def _works(self, child: str) -> bool:
        known = self._working.get(child)
        return self.snapshot.children[child].is_busy if known is None else known

    def _asks(self, child: str) -> bool:
        """Whether a child waits for an answer from outside this workflow; one that does not ask through it is passed over."""
        nesting, inner = self.scheme.children[executor_of(child)], self.snapshot.children.get(child)
        if not nesting.propagates or inner is None:
            return False
        known = self._asking.get(child)
        return is_asking(nesting.scheme, inner) if known is None else known

    def _awaited(self) -> list[str]:
        """Executors that may still send because of what runs inside them."""
        if not self.scheme.children:
            return []
        alive = [executor_of(child) for child in self._alive() if self._works(child) or self._asks(child)]
        return list(dict.fromkeys(alive))

    def _changes_inside(self, child: str) -> Changes:
        """What this commit has changed in a child so far, addressed from there."""
        prefix = len(child) + 2
        return {
            (table[prefix:], name): value
            for (table, name), value in self.changes.items()
            if split_table(table)[0] == (child,)
        }

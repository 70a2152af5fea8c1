"""One workflow of the tree in the commit of a superstep: its children first, then what they and its own deliveries did in it."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from typing import Any

import attrs

from actorflow.core.effects import REMOVED, Delivery, Effects, Finished, Output, OutputKind, Sent
from actorflow.core.snapshot import CHILDREN, INFLIGHT, OUTPUTS, STEPS, TIMERS, Changes, Snapshot, inside
from actorflow.core.subworkflows import LocatedRequest, SubWorkflowRequest, executor_of
from actorflow.graph.abandoning import discard
from actorflow.graph.children import Children
from actorflow.graph.committing import Result, commit_arrivals, commit_superstep
from actorflow.graph.nesting import Names, Nesting, Scheme
from actorflow.graph.routing import Dropped
from actorflow.graph.tree_result import Completed, Step, TreeResult

__all__ = ["Level"]


@attrs.define(eq=False)
class Level:
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
        is_expecting: Whether a deadline will wake it, here or below.
        children: What runs inside its executors.
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
    is_expecting: bool = False
    children: Children = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.children = Children(self.scheme, self.snapshot, self.names, self.changes, self.total.dropped)

    def commit(self, step: Step, superstep: int) -> Generator[Any, Any, None]:
        """Commit the children that took part, then what they and this level's own deliveries did here."""
        own, children = step.done.get(self.names, ()), self.children
        by_children: list[Finished] = []
        if self.scheme.children and own:
            step = attrs.evolve(step, answered=[*step.answered, *children.answered(own)])
        for child in self.snapshot.children:
            if (*self.names, child) in step.touched:
                by_children.append((yield from self._commit_child(child, step)))  # noqa: PERF401 - it yields
        if self.scheme.children:
            children.take_inputs(own)
        result = yield from self._commit_here(step, [*own, *by_children], superstep)
        if self.names:
            self.outputs = list(result.changes.pop((OUTPUTS, str(superstep)), ()))
            if own:
                result.changes[STEPS] = superstep
        self.changes.update(result.changes)
        open_after = {**self.snapshot.requests, **{each.id: each for each in result.requests}}
        for each in result.expired:
            open_after.pop(each.id, None)
        self.is_at_work = self._has_work(result.changes) or any(map(children.works, children.alive()))
        self.is_asking = bool(open_after) or any(map(children.asks, children.alive()))
        self.is_expecting = any(each.due is not None for each in open_after.values()) or self._expects_below
        self.total.expired += result.expired
        self.total.dropped += [(self.names, each) for each in result.dropped]
        self.requests += [LocatedRequest((), each) for each in result.requests]

    def _commit_here(self, step: Step, finished: Sequence[Finished], superstep: int) -> Generator[Any, Any, Result]:
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
                    awaited=self.children.awaited(),
                    expecting=self._expects_below,
                )
            )
        return commit_arrivals(
            scheme.graph,
            self.snapshot,
            now,
            settled,
            strict=scheme.strict,
            awaited=self.children.awaited(),
            expecting=self._expects_below,
        )

    @property
    def _expects_below(self) -> bool:
        return bool(self.scheme.children) and any(map(self.children.expects, self.children.alive()))

    def _has_work(self, changes: Changes) -> bool:
        """Whether deliveries or timers are waiting here after this commit."""
        timers = self.snapshot.schedule.timers + sum(
            -1 if value is REMOVED else 1 for (table, _), value in changes.items() if table == TIMERS
        )
        return bool(changes[INFLIGHT]) or timers > 0

    def _commit_child(self, child: str, step: Step) -> Generator[Any, Any, Finished]:
        """Commit a child; returns what it did here, as if the executor that holds it had done it."""
        executor_id, names = executor_of(child), (*self.names, child)
        nesting, snapshot = self.scheme.children[executor_id], self.snapshot.children[child]
        level = Level(nesting.scheme, snapshot, names, self.total)
        try:
            yield from level.commit(step, snapshot.superstep + (names in step.done))
        except Exception as error:
            error.add_note(f"in the workflow inside executor {executor_id!r}")
            raise
        self.children.note(
            child, is_at_work=level.is_at_work, is_asking=level.is_asking, is_expecting=level.is_expecting
        )
        effects = self._effects_of(level, child, executor_id, nesting)
        at_rest = not (level.is_at_work or level.is_asking or level.is_expecting)
        if at_rest:
            sent, outputs = ([each.value for each in made] for made in (effects.sent, effects.outputs))
            given = snapshot.mark.origin if snapshot.mark is not None else None
            self.total.completed.append(Completed(names, nesting.isolates, tuple(sent), tuple(outputs), given))
        if at_rest and nesting.isolates:
            self._remove(child, level)
        else:
            self.changes.update(inside(child, level.changes))
        return Finished(Delivery(executor_id, None), effects, {}, REMOVED)

    def _effects_of(self, level: Level, child: str, executor_id: str, nesting: Nesting) -> Effects:
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

    def _remove(self, child: str, level: Level) -> None:
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

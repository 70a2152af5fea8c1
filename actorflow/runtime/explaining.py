"""Looking at a workflow, and at the run that is under way, for what they wait for. Nothing is changed, nothing awaited."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import attrs
import trio

from actorflow.clock import wall_time
from actorflow.core.effects import Delivery
from actorflow.core.joins import Join
from actorflow.core.snapshot import JOINS, Snapshot
from actorflow.core.subworkflows import LocatedRequest, executor_of, path_of
from actorflow.graph.nesting import Scheme, all_requests, plan
from actorflow.runtime.activity import Activity
from actorflow.runtime.explanation import Explanation, HeldLease, Inbox, OpenRequest, WaitingJoin, WaitingTimer
from actorflow.runtime.opening import requests_of
from actorflow.runtime.slot import Slot
from actorflow.runtime.workflow_core import WorkflowCore

__all__ = ["explain", "left_over"]

_Level = tuple[tuple[str, ...], Scheme, Snapshot]
"""A workflow of the tree: the executors that nest it, its definition, and its state."""


def explain(core: WorkflowCore) -> Explanation:
    """Say what a workflow waits for, and what it has left."""
    activity = core.activity
    snapshot = core.standing.snapshot
    now = _now(activity)
    levels = list(_levels(core.definition, snapshot))
    inboxes = tuple(_inboxes(core, activity))
    timers = tuple(sorted(_timers(levels, now), key=lambda timer: timer.due_in))
    requests = tuple(_request(core, each, now, activity) for each in _requests(core, snapshot))
    joins = tuple(_joins(levels))
    at_work = activity is not None and bool(activity.actors.slots)
    found = Explanation(
        workflow_id=core.id,
        status=core.status,
        owner=core.ownership.holder,
        lease=_lease(activity),
        superstep=activity.emitter.superstep if activity is not None and at_work else snapshot.superstep,
        waits_for="",
        inboxes=inboxes,
        timers=timers,
        joins=joins,
        requests=requests,
        head=core.standing.head_id,
    )
    return attrs.evolve(found, waits_for=_sentence(found, activity, at_work=at_work))


def left_over(core: WorkflowCore) -> Callable[[], Explanation]:
    """What a run that has just ended leaves; looked for now if there is anything, since the next run will change it."""
    snapshot = core.standing.snapshot
    if snapshot.is_busy or snapshot.requests or snapshot.children or snapshot.table(JOINS):
        left = attrs.evolve(explain(core), owner=None)
        return lambda: left
    return partial(
        Explanation,
        workflow_id=core.id,
        status=core.status,
        superstep=snapshot.superstep,
        waits_for="nothing",
        head=core.standing.head_id,
    )


def _now(activity: Activity | None) -> float:
    if not trio.lowlevel.in_trio_run():
        return time.time()
    return activity.waiting.clock.now() if activity is not None else wall_time()


def _age(since: float) -> float:
    return trio.current_time() - since if trio.lowlevel.in_trio_run() else 0.0


def _lease(activity: Activity | None) -> HeldLease | None:
    if activity is None or activity.lease is None:
        return None
    lease = activity.lease.lease
    return HeldLease(owner=lease.owner, host=lease.host, epoch=lease.epoch, age=_age(activity.lease.acquired))


def _inboxes(core: WorkflowCore, activity: Activity | None) -> Iterable[Inbox]:
    if activity is None or not activity.actors.slots:
        planned = plan(core.definition, core.standing.snapshot)
        waiting = Counter(_named(path_of(each.names), each.delivery.target_id) for each in planned)
        return [Inbox(executor_id=id_, depth=depth) for id_, depth in waiting.items()]
    age = _age(activity.since)
    unhandled: dict[str, list[Slot]] = {}
    for slot in activity.actors.slots:
        if slot.finished is None:
            unhandled.setdefault(_named(slot.place.path, slot.delivery.target_id), []).append(slot)
    return [
        Inbox(executor_id=id_, depth=len(slots), age=age, attempt=slots[0].attempt) for id_, slots in unhandled.items()
    ]


def _levels(definition: Scheme, snapshot: Snapshot, path: tuple[str, ...] = ()) -> Iterator[_Level]:
    """The workflow, and those that run inside it."""
    yield path, definition, snapshot
    for child, inner in snapshot.children.items():
        executor_id = executor_of(child)
        yield from _levels(definition.children[executor_id].scheme, inner, (*path, executor_id))


def _named(path: tuple[str, ...], executor_id: str) -> str:
    return "/".join((*path, executor_id))


def _timers(levels: Iterable[_Level], now: float) -> Iterable[WaitingTimer]:
    for path, scheme, snapshot in levels:
        targets = {join.id: join.target for join in scheme.graph.joins}
        in_order = sorted(snapshot.timers.values(), key=lambda timer: (timer.due, timer.superstep, timer.index))
        for timer in in_order:
            what = timer.what
            if isinstance(what, Delivery):
                yield WaitingTimer(target_id=_named(path, what.target_id), due_in=timer.due - now)
            else:
                target = _named(path, targets.get(what.join_id, what.join_id))
                yield WaitingTimer(target_id=target, join_id=what.join_id, due_in=timer.due - now)


def _requests(core: WorkflowCore, snapshot: Snapshot) -> Iterator[LocatedRequest]:
    """What the outside world may answer, and what executors may until a time that the workflow waits for."""
    yield from (outside := requests_of(core.definition, snapshot)).values()
    asked = {id(each.request) for each in outside.values()}
    yield from (
        each for each in all_requests(snapshot) if each.request.due is not None and id(each.request) not in asked
    )


def _request(core: WorkflowCore, located: LocatedRequest, now: float, activity: Activity | None) -> OpenRequest:
    request = located.request
    told = core.standing.told.get(request.id)
    clock = time.time if activity is None or not trio.lowlevel.in_trio_run() else activity.emitter.now
    return OpenRequest(
        request_id=request.id,
        executor_id=_named(path_of(located.names), request.executor_id),
        age=None if told is None else max(0.0, clock() - told.time),
        expires_in=None if request.due is None else request.due - now,
    )


def _joins(levels: Iterable[_Level]) -> Iterable[WaitingJoin]:
    for path, scheme, snapshot in levels:
        held = snapshot.table(JOINS)
        for join in scheme.graph.joins:
            holds = held.get(join.id)
            if holds:
                yield _join(path, join, {source: len(holds[source]) for source in join.sources if holds.get(source)})


def _join(path: tuple[str, ...], join: Join, has: dict[str, int]) -> WaitingJoin:
    misses = tuple(source for source in join.sources if source not in has)
    target = _named(path, join.target)
    return WaitingJoin(join_id=join.id, target_id=target, wait=join.wait.value, has=has, misses=misses)


def _sentence(found: Explanation, activity: Activity | None, *, at_work: bool) -> str:
    """What the workflow waits for, first things first."""
    if at_work and found.inboxes:
        names = ", ".join(repr(each.executor_id) for each in found.inboxes)
        return f"{names} to finish superstep {found.superstep}"
    if at_work:
        return f"the commit of superstep {found.superstep}"
    parts = list(_parts(found))
    if activity is not None:
        return parts[0] if parts and not found.inboxes else "its next superstep to begin"
    if not parts:
        return "nothing"
    return f"a run to go on (checkpoint_id=LATEST): it has left {'; '.join(parts)}" if _to_do(found) else parts[0]


def _to_do(found: Explanation) -> bool:
    return bool(found.inboxes or found.timers)


def _parts(found: Explanation) -> Iterable[str]:
    if found.inboxes:
        depth = sum(each.depth for each in found.inboxes)
        yield f"{depth} undelivered, for {', '.join(repr(each.executor_id) for each in found.inboxes)}"
    dues = [each.due_in for each in found.timers]
    limits = [each.expires_in for each in found.requests if each.expires_in is not None]
    if dues and min([*dues, *limits]) == dues[0]:
        yield f"the {found.timers[0]}"
    if found.requests:
        limit = f" or a deadline, {min(limits):.1f} s away" if limits else ""
        count = len(found.requests)
        yield f"{'an answer' if count == 1 else 'answers'} to {count} open request{'s' * (count > 1)}{limit}"
    if dues and min([*dues, *limits]) != dues[0]:
        yield f"the {found.timers[0]}"
    if found.joins:
        yield f"what {', '.join(repr(source) for each in found.joins for source in each.misses)} would send to a join"

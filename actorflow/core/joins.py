"""Fan-in joins: what they hold, and at which superstep boundary they fire.

Grouping is a function of the messages alone: a join takes everything it holds, sources in declared order and
messages of one source in canonical order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

import attrs

__all__ = ["Firing", "Held", "Join", "JoinWait", "fire_joins"]

Held = dict[str, tuple[Any, ...]]
"""What a join holds: messages by source, in canonical order."""


class JoinWait(StrEnum):
    """What a join waits for."""

    ALL = "all"
    """Every source has something."""
    ACTIVE = "active"
    """Something is there, and nothing in flight can still reach a silent source."""
    ANY = "any"
    """Something is there."""


@attrs.frozen
class Join:
    """A fan-in group.

    Attributes:
        id: Its name in checkpoints.
        sources: Ids, in declared order.
        target: Id of the executor that gets the list.
        wait: When it fires.
    """

    id: str
    sources: tuple[str, ...]
    target: str
    wait: JoinWait

    def silent(self, held: Held) -> list[str]:
        """The sources that have sent nothing."""
        return [source for source in self.sources if not held.get(source)]


@attrs.frozen
class Firing:
    """A join that fires: one flat list for its target.

    Attributes:
        join: The join.
        values: The messages.
        source_ids: The sources that contributed, in declared order.
    """

    join: Join
    values: list[Any]
    source_ids: tuple[str, ...]


def fire_joins(
    joins: Iterable[Join],
    held: Mapping[str, Held],
    live: Iterable[str],
    reach: Callable[[str], frozenset[str]],
    coming: Collection[tuple[str, str]] = (),
) -> list[Firing]:
    """Decide which joins fire at a superstep boundary.

    Args:
        joins: All joins, in declared order.
        held: What each join holds, by join id.
        live: Executors that something in flight, a timer or an open request will still wake.
        reach: For an executor, itself and every executor its messages can lead to.
        coming: Join id and source of every message that a timer will bring to a join.

    Returns:
        The firings, in declared order.
    """
    joins = tuple(joins)
    waiting = [join for join in joins if any(held.get(join.id, {}).values())]
    fired = {join.id for join in waiting if _fires_by_content(join, held[join.id])}
    awake = [*live, *(join.target for join in waiting if join.id in fired)]
    active = [join for join in waiting if join.id not in fired and join.wait is JoinWait.ACTIVE]
    if coming:  # a join that will get them may fire then, and wake its target
        fed = {join_id for join_id, _ in coming}
        awake += [join.target for join in joins if join.id in fed]
        active = [join for join in active if not any((join.id, s) in coming for s in join.silent(held[join.id]))]
    fired |= _fire_active(active, held, awake, reach)
    return [_firing(join, held[join.id]) for join in waiting if join.id in fired]


def _fires_by_content(join: Join, held: Held) -> bool:
    return join.wait is JoinWait.ANY or not join.silent(held)


def _fire_active(
    candidates: list[Join], held: Mapping[str, Held], awake: list[str], reach: Callable[[str], frozenset[str]]
) -> set[str]:
    """Fire active joins until none can.

    A join that fires wakes its target, which can reach the silent source of another; so a join that others could still
    feed comes after them. Of joins that could only feed each other, and would wait for ever, the first declared goes first.
    """
    fired: set[str] = set()
    reachable: set[str] = set().union(*(reach(executor) for executor in awake))
    left = [join for join in candidates if reachable.isdisjoint(join.silent(held[join.id]))]
    while left:
        chosen = next(join for join in left if _is_next(join, left, held, reach))
        fired.add(chosen.id)
        reachable |= reach(chosen.target)
        left = [join for join in left if join is not chosen and reachable.isdisjoint(join.silent(held[join.id]))]
    return fired


def _is_next(join: Join, others: list[Join], held: Mapping[str, Held], reach: Callable[[str], frozenset[str]]) -> bool:
    """Whether every join that feeds this one is fed by it in turn; feeding is transitive, so there is always such a join."""

    def feeds(one: Join, other: Join) -> bool:
        return not reach(one.target).isdisjoint(other.silent(held[other.id]))

    return all(not feeds(other, join) or feeds(join, other) for other in others)


def _firing(join: Join, held: Held) -> Firing:
    contributed = tuple(source for source in join.sources if held.get(source))
    return Firing(join, [value for source in contributed for value in held[source]], contributed)

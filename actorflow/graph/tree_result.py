"""What a superstep of a workflow and of those that run inside it is committed from, and what it comes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from actorflow.core.effects import Finished, PendingRequest
from actorflow.core.snapshot import Changes
from actorflow.core.subworkflows import LocatedRequest
from actorflow.graph.nesting import Names
from actorflow.graph.routing import Dropped

__all__ = ["Completed", "Step", "TreeResult"]


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
class Step:
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

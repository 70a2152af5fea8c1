"""Workflows inside executors: what the tree of them is, and what its next superstep delivers.

A superstep advances every level of the tree: a child's deliveries are handled beside its parent's, so a child with many
supersteps before it holds nobody up, and whatever it has done is committed, resumed, forked and taken back with its parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import attrs

from actorflow.core.effects import Delivery, OutputKind
from actorflow.core.merge import Reducer
from actorflow.core.snapshot import Snapshot
from actorflow.core.subworkflows import LocatedRequest, executor_of
from actorflow.graph.graph import Graph

__all__ = [
    "Names",
    "Nesting",
    "Planned",
    "Scheme",
    "all_requests",
    "is_asking",
    "open_requests",
    "plan",
    "request_types",
]

Names = tuple[str, ...]
"""Names of the children that lead from the top to a level of the tree."""


class Scheme(Protocol):
    """What a definition says of committing."""

    @property
    def graph(self) -> Graph:
        """Executors and edges."""
        ...

    @property
    def reducers(self) -> Mapping[str, Reducer]:
        """Reducers of the shared state, by key."""
        ...

    @property
    def strict(self) -> bool:
        """Whether a message that nothing took is an error."""
        ...

    @property
    def children(self) -> Mapping[str, Nesting]:
        """The executors that hold a workflow, by id."""
        ...

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        ...


@attrs.frozen(eq=False)
class Nesting:
    """How an executor holds a workflow.

    Attributes:
        scheme: The workflow's.
        isolates: Whether each input has a child of its own.
        propagates: Whether requests surface, or travel along the parent's edges.
        is_direct: Whether outputs are the parent's outputs, or messages along its edges.
        concurrency: How many children may be at work at once.
    """

    scheme: Scheme
    isolates: bool
    propagates: bool
    is_direct: bool
    concurrency: int


@attrs.frozen
class Planned:
    """One delivery of the next superstep, and where in the tree.

    Attributes:
        names: Its level.
        scheme: That level's.
        delivery: The delivery.
        delivery_id: Its id.
    """

    names: Names
    scheme: Scheme
    delivery: Delivery
    delivery_id: str


def plan(scheme: Scheme, snapshot: Snapshot, names: Names = ()) -> Iterator[Planned]:
    """The deliveries of the next superstep, in canonical order: a level's own, then those of its children."""
    prefix = snapshot.id_prefix
    for number, delivery in enumerate(snapshot.inflight):
        yield Planned(names, scheme, delivery, f"{prefix}{number}")
    for child, inner in snapshot.children.items():
        yield from plan(scheme.children[executor_of(child)].scheme, inner, (*names, child))


def open_requests(scheme: Scheme, snapshot: Snapshot, names: Names = ()) -> Iterator[LocatedRequest]:
    """The requests that the outside world may answer: a workflow's own, and what its children propagate."""
    for request in snapshot.requests.values():
        yield LocatedRequest(names, request)
    for child, inner in snapshot.children.items():
        nesting = scheme.children[executor_of(child)]
        if nesting.propagates:
            yield from open_requests(nesting.scheme, inner, (*names, child))


def is_asking(scheme: Scheme, snapshot: Snapshot) -> bool:
    """Whether something outside a workflow may have to answer it."""
    return next(open_requests(scheme, snapshot), None) is not None


def all_requests(snapshot: Snapshot, names: Names = ()) -> Iterator[LocatedRequest]:
    """Every open request of the tree, those among them that only a workflow of the tree may answer."""
    for request in snapshot.requests.values():
        yield LocatedRequest(names, request)
    for child, inner in snapshot.children.items():
        yield from all_requests(inner, (*names, child))


def request_types(scheme: Scheme) -> Iterator[tuple[Any, Any]]:
    """(request, response) type pairs that the outside world may be asked for: a workflow's own, and what surfaces."""
    for node in scheme.graph.nodes.values():
        yield from node.response_types
    for nesting in scheme.children.values():
        if nesting.propagates:
            yield from request_types(nesting.scheme)

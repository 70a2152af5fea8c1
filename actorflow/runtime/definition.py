"""A compiled workflow definition: shared, immutable, made once however many workflows are built from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import attrs

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.sections import SectionCodec
from actorflow.core.effects import OutputKind
from actorflow.core.merge import Reducer
from actorflow.graph.graph import Graph
from actorflow.graph.nesting import Nesting
from actorflow.graph.signature import graph_signature

__all__ = ["CheckpointFailures", "Definition"]

CheckpointFailures = Literal["raise", "warn"]


@attrs.frozen(eq=False, slots=False, kw_only=True)
class Definition:
    """What a builder compiled.

    Attributes:
        name: The workflow's name.
        description: What it is for.
        graph: Executors and edges.
        max_supersteps: Limit of each run.
        outputs: Executors whose outputs are outputs.
        intermediates: Executors whose outputs are intermediate.
        reducers: Reducers of the shared state, by key.
        strict: Whether a dropped message or a message changed in place is an error.
        checkpoint_failures: Whether a checkpoint that cannot be written fails the run.
        annotations: Every type that stored values may have.
        children: The executors that hold a workflow, by id.
    """

    name: str
    description: str | None
    graph: Graph
    max_supersteps: int
    outputs: frozenset[str]
    intermediates: frozenset[str]
    reducers: Mapping[str, Reducer]
    strict: bool
    checkpoint_failures: CheckpointFailures
    annotations: tuple[Any, ...]
    children: Mapping[str, Nesting] = attrs.Factory(dict)

    @cached_property
    def signature(self) -> str:
        """What a checkpoint must match to be restored."""
        return graph_signature(self.graph)

    @cached_property
    def codec(self) -> SectionCodec:
        """Encodes with the types this graph declares; made when a storage is first used."""
        inner = {id_: each.scheme.codec for id_, each in self.children.items() if isinstance(each.scheme, Definition)}
        return SectionCodec(TypeRegistry(self.annotations), inner)

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        if executor_id in self.outputs:
            return OutputKind.OUTPUT
        return OutputKind.INTERMEDIATE if executor_id in self.intermediates else OutputKind.HIDDEN

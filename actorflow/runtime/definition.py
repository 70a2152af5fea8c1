"""A compiled workflow definition: shared, immutable, made once however many workflows are built from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import attrs

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.sections import SectionCodec
from actorflow.checkpoint.codec.upcasters import Upcaster
from actorflow.core.effects import OutputKind
from actorflow.core.merge import Reducer
from actorflow.core.naming import Naming, former_namings
from actorflow.errors import UpcasterError
from actorflow.graph.failures import takes_failures
from actorflow.graph.graph import Graph
from actorflow.graph.nesting import Nesting
from actorflow.graph.signature import graph_signature
from actorflow.policy import SupervisionPolicy

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
        policy: For executors that have none of their own.
        max_concurrency: How many handlers may be in flight at once.
        cleanup_grace: Seconds that handlers may take to end when a run is cancelled, before that is reported.
        upcasters: How stored values of older forms become present ones, oldest first.
        restores: Signatures of earlier graphs whose checkpoints the user says this one may restore.
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
    policy: SupervisionPolicy | None = None
    max_concurrency: int | None = None
    cleanup_grace: float = 5.0
    upcasters: tuple[Upcaster, ...] = ()
    restores: frozenset[str] = frozenset()
    children: Mapping[str, Nesting] = attrs.Factory(dict)

    @cached_property
    def signature(self) -> str:
        """What a checkpoint must match to be restored."""
        return graph_signature(self.graph)

    def may_restore(self, signature: str) -> bool:
        """Whether a graph of this signature was this one: as it is, before a declared rename, or by the user's word."""
        return signature == self.signature or signature in self.restores or signature in self._former_signatures

    @cached_property
    def _former_signatures(self) -> frozenset[str]:
        return frozenset(map(self._signature_under, former_namings(self._renames)))

    @cached_property
    def _renames(self) -> tuple[tuple[str, str], ...]:
        """Renames that this workflow declares, and then those that only workflows inside it do."""
        inside = (rename for held in self._held.values() for rename in held._renames)  # noqa: SLF001 - its own kind
        return tuple(dict.fromkeys([*self.codec.registry.lifts.renames, *inside]))

    def _signature_under(self, name_of: Naming) -> str:
        """The signature if classes were called so, here and in the workflows inside, whose signatures are part of it."""
        nodes = dict(self.graph.nodes)
        for id_, held in self._held.items():
            former = held._signature_under(name_of)  # noqa: SLF001 - its own kind
            nodes[id_] = attrs.evolve(nodes[id_], type_name=nodes[id_].type_name.replace(held.signature, former))
        return graph_signature(attrs.evolve(self.graph, nodes=nodes), name_of)

    @property
    def _held(self) -> Mapping[str, Definition]:
        return {id_: each.scheme for id_, each in self.children.items() if isinstance(each.scheme, Definition)}

    @cached_property
    def codec(self) -> SectionCodec:
        """Encodes with the types this graph declares; made when a storage is first used."""
        inner = {id_: held.codec for id_, held in self._held.items()}
        try:
            registry = TypeRegistry(self.annotations, self.upcasters)
        except UpcasterError as error:
            error.add_note(f"given to the builder of workflow {self.name!r}")
            raise
        return SectionCodec(registry, inner)

    @cached_property
    def failure_senders(self) -> frozenset[str]:
        """Executors with an edge to something that takes an `ExecutorFailure`."""
        return frozenset(executor_id for executor_id in self.graph.nodes if takes_failures(self.graph, executor_id))

    def output_kind(self, executor_id: str) -> OutputKind:
        """Who sees an executor's outputs."""
        if executor_id in self.outputs:
            return OutputKind.OUTPUT
        return OutputKind.INTERMEDIATE if executor_id in self.intermediates else OutputKind.HIDDEN

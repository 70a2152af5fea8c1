"""WorkflowBuilder: declares a graph, checks it once, and builds any number of workflows from it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from actorflow.checkpoint.codec.upcasters import Upcaster
from actorflow.checkpoint.storage import CheckpointStorage, is_storage
from actorflow.core.joins import Join, JoinWait
from actorflow.core.merge import Reducer
from actorflow.errors import (
    EdgeGroupError,
    MissingStartError,
    OutputDesignationError,
    UnknownExecutorError,
)
from actorflow.executors.executor import Executor, check_executor
from actorflow.executors.members import ExecutorLike, Members
from actorflow.executors.own_state import has_typed_state, state_annotation
from actorflow.executors.workflow_executor import WorkflowExecutor
from actorflow.graph.edges import (
    Case,
    Condition,
    Default,
    Edge,
    EdgeGroup,
    FanInEdges,
    FanOutEdges,
    MultiSelectionEdges,
    Selection,
    SwitchCaseEdges,
)
from actorflow.graph.failures import check_failure_routes
from actorflow.graph.graph import Graph, Node
from actorflow.graph.nesting import Nesting
from actorflow.graph.validation import check_ends, check_function, check_outputs, check_switch, validate
from actorflow.policy import ExecutorFailure, SupervisionPolicy, check_limits, check_policy
from actorflow.runtime.definition import CheckpointFailures, Definition
from actorflow.runtime.executor_states import ExecutorStates
from actorflow.runtime.ownership import Ownership
from actorflow.runtime.places import Place, Places
from actorflow.runtime.standing import Standing
from actorflow.runtime.turns import Turns
from actorflow.runtime.workflow_core import WorkflowCore
from actorflow.workflow import Workflow

__all__ = ["WorkflowBuilder"]


class WorkflowBuilder:
    """Declares a workflow.

    Executors are given as objects, as zero-argument factories, or by the ids of ones already added. An object belongs to
    one workflow, so a builder that is to build several needs factories; the graph is compiled once all the same.

    Args:
        name: The workflow's name.
        start_executor: Gets the input of every run.
        description: What the workflow is for.
        max_supersteps: Limit of each run; a run that has not come to rest by then fails with `ConvergenceError`.
        checkpoint_storage: Where runs write their checkpoints, unless a run is given its own.
        output_from: Executors whose outputs are the workflow's: a list, "all", or None. With neither this nor
            `intermediate_output_from`, all are; with one of them, what is not named is hidden.
        intermediate_output_from: Executors whose outputs are intermediate: a list, "all", or "all_other".
        reducers: ``reducer(old, new)`` by state key: how several writes of a key combine.
        state_types: Types, beside those the handlers name, that stored state may have.
        strict: A message that nothing takes, or that a handler changes in place, is an error.
        checkpoint_failures: "raise": a checkpoint that cannot be written fails the run; "warn": it goes on with a
            `CheckpointFailedEvent`.
        policy: Supervision of every executor that has no policy of its own.
        max_concurrency: How many handlers may be in flight at once, over the whole workflow; None for no limit.
        cleanup_grace: Seconds that handlers may take to end when a run is cancelled or has failed. They are waited for
            however long they take; an overrun is reported by a `WarningEvent`.
        upcasters: How values stored under an older name or version of their class become values of today's; oldest first.
        restores: Graph signatures, beside the present one and those before declared renames, whose checkpoints this graph
            may restore: your word for a change that routes what is in flight as before.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: `policy` is no policy.
        WorkflowValidationError: The start executor is missing or unusable.
    """

    def __init__(
        self,
        *,
        name: str,
        start_executor: ExecutorLike,
        description: str | None = None,
        max_supersteps: int = 100,
        checkpoint_storage: CheckpointStorage | None = None,
        output_from: Sequence[Executor | str] | str | None = None,
        intermediate_output_from: Sequence[Executor | str] | str | None = None,
        reducers: Mapping[str, Reducer] | None = None,
        state_types: Sequence[Any] = (),
        strict: bool = False,
        checkpoint_failures: CheckpointFailures = "raise",
        policy: SupervisionPolicy | None = None,
        max_concurrency: int | None = None,
        cleanup_grace: float = 5.0,
        upcasters: Sequence[Upcaster] = (),
        restores: Sequence[str] = (),
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a workflow's name is a non-empty str, not {name!r}")
        if isinstance(max_supersteps, bool) or not isinstance(max_supersteps, int) or max_supersteps < 1:
            raise ValueError(f"max_supersteps is a whole number from 1, not {max_supersteps!r}")
        if checkpoint_failures not in ("raise", "warn"):
            raise ValueError(f"checkpoint_failures is 'raise' or 'warn', not {checkpoint_failures!r}")
        if not isinstance(reducers, Mapping | None):
            raise ValueError(f"reducers maps state keys to functions (old, new) -> value; not {reducers!r}")  # noqa: TRY004
        unusable = {
            key: each for key, each in (reducers or {}).items() if not (isinstance(key, str) and callable(each))
        }
        if unusable:
            raise ValueError(f"reducers maps state keys to functions (old, new) -> value; not {unusable}")
        if isinstance(restores, str) or not all(isinstance(each, str) for each in restores):
            raise ValueError(f"restores is a list of graph signatures, not {restores!r}")
        if isinstance(state_types, str | type) or not isinstance(state_types, Iterable):
            raise ValueError(f"state_types is a list of types, not {state_types!r}")  # noqa: TRY004
        if isinstance(checkpoint_storage, type) or not (checkpoint_storage is None or is_storage(checkpoint_storage)):
            raise ValueError(
                f"checkpoint_storage is a CheckpointStorage, not {type(checkpoint_storage).__name__}; for a file give "
                f"SqliteCheckpointStorage(path)"
            )
        check_policy(f"workflow {name!r}", policy)
        check_limits(max_concurrency, cleanup_grace)
        self._name = name
        self._description = description
        self._max_supersteps = max_supersteps
        self._storage = checkpoint_storage
        self._output_from = output_from
        self._intermediate_from = intermediate_output_from
        self._reducers = dict(reducers or {})
        self._state_types = tuple(state_types)
        self._strict = strict
        self._checkpoint_failures: CheckpointFailures = checkpoint_failures
        self._policy = policy
        self._max_concurrency = max_concurrency
        self._cleanup_grace = cleanup_grace
        self._upcasters = (upcasters,) if isinstance(upcasters, Upcaster) else tuple(upcasters)
        self._restores = frozenset(restores)
        self._members = Members()
        self._groups: list[EdgeGroup] = []
        self._definition: Definition | None = None
        if start_executor is None:
            raise MissingStartError(f"workflow {name!r} has no start executor; give start_executor=")
        self._start: str = start_executor if isinstance(start_executor, str) else self._add(start_executor)

    def add_edge(self, source: ExecutorLike, target: ExecutorLike, condition: Condition | None = None) -> Self:
        """Connect two executors.

        Args:
            source: Sends.
            target: Receives.
            condition: ``condition(message) -> bool``, sync or async; without one every message passes.

        Raises:
            EdgeGroupError: The condition is no function.
            WorkflowValidationError: An executor is unusable.
        """
        edge = Edge(self._add(source), self._add(target), condition)
        if condition is not None:
            check_function("condition", str(edge), condition)
        return self._group(edge)

    def add_fan_out_edges(self, source: ExecutorLike, targets: Sequence[ExecutorLike]) -> Self:
        """Send every message of one executor to several.

        Args:
            source: Sends: an executor, a factory of one, or the id of one that was added.
            targets: Each gets every message that it can take, in this order.

        Raises:
            EdgeGroupError: Fewer than two targets, or one twice.
        """
        source_id, ids = self._add(source), self._add_all(targets)
        check_ends("fan-out", f"from {source_id!r}", ids)
        return self._group(FanOutEdges(source_id, ids))

    def add_multi_selection_edge_group(
        self, source: ExecutorLike, targets: Sequence[ExecutorLike], selection_func: Selection
    ) -> Self:
        """Let a function select, for each message, which of several executors get it.

        Args:
            source: Sends.
            targets: May receive.
            selection_func: ``selection_func(message, target_ids) -> ids``, sync or async.

        Raises:
            EdgeGroupError: Fewer than two targets, one twice, or the selection is no function.
        """
        source_id, ids = self._add(source), self._add_all(targets)
        check_ends("selection", f"from {source_id!r}", ids)
        check_function("selection", f"the selection group from {source_id!r}", selection_func)
        return self._group(MultiSelectionEdges(source_id, ids, selection_func))

    def add_switch_case_edge_group(self, source: ExecutorLike, cases: Sequence[Case | Default]) -> Self:
        """Send each message to the target of the first case that holds, or else to the default's.

        Args:
            source: Sends.
            cases: The arms, tried in this order; the last is the `Default`.

        Raises:
            SwitchCaseError: The Default is missing, doubled or not last, or there is no case.
            EdgeGroupError: The condition of a case is no function.
        """
        source_id = self._add(source)
        check_switch(source_id, cases)
        arms = tuple((case.condition, self._add(case.target)) for case in cases if isinstance(case, Case))
        return self._group(SwitchCaseEdges(source_id, arms, self._add(cases[-1].target)))

    def add_fan_in_edges(
        self, sources: Sequence[ExecutorLike], target: ExecutorLike, *, wait: Literal["all", "active", "any"] = "all"
    ) -> Self:
        """Join the messages of several executors into one list for the target.

        Args:
            sources: Send; the list has their messages in this order.
            target: Gets the list.
            wait: "all": once every source has sent something; "any": wherever something arrived; "active": once nothing
                in flight can still reach a source that has sent nothing.

        Raises:
            EdgeGroupError: Fewer than two sources, one twice, or an unknown `wait`.
        """
        if wait not in [each.value for each in JoinWait]:
            raise EdgeGroupError(f"wait={wait!r}: a fan-in waits for 'all', 'active' or 'any'")
        ids, target_id = self._add_all(sources), self._add(target)
        check_ends("fan-in", f"to {target_id!r}", ids)
        number = sum(isinstance(group, FanInEdges) for group in self._groups)
        return self._group(FanInEdges(Join(f"{target_id}#{number}", ids, target_id, JoinWait(wait))))

    def add_chain(self, executors: Sequence[ExecutorLike]) -> Self:
        """Connect executors in a row.

        Args:
            executors: Each sends to the next one.

        Raises:
            EdgeGroupError: Fewer than two.
        """
        ids = self._add_all(executors)
        if len(ids) < 2:
            raise EdgeGroupError(f"a chain needs at least two executors, got {list(ids)}")
        for source, target in itertools.pairwise(ids):
            self._group(Edge(source, target))
        return self

    def build(self, *, id: str | None = None) -> Workflow:  # noqa: A002 - the design's name
        """Check the graph (once) and make a workflow.

        Args:
            id: Its durable identity; checkpoints of equal ids form one lineage. A fresh one unless given.

        Raises:
            WorkflowValidationError: Something is wrong with the graph; each kind of defect has its own subclass.
            ExecutorReusedError: An executor object belongs to another workflow already.
            ValueError: `id` is empty.
        """
        if id is not None and (not isinstance(id, str) or not id):
            raise ValueError(f"a workflow's id is a non-empty str, not {id!r}")
        if self._definition is None:
            self._definition = self._compile()
        executors = self._members.take()
        workflow_id = id or uuid.uuid4().hex
        turns = Turns(executors.values(), self._max_concurrency)
        core = WorkflowCore(
            id=workflow_id,
            definition=self._definition,
            places=Places(Place((), (), self._definition, executors, turns), ExecutorStates.of(executors)),
            standing=Standing(),
            ownership=Ownership(workflow_id),
        )
        return Workflow(core, self._storage)

    # Members.

    def _add_all(self, given: Sequence[ExecutorLike]) -> tuple[str, ...]:
        if isinstance(given, (str, Executor)):
            raise EdgeGroupError(f"a list of executors is wanted, not {given!r} alone")
        return tuple(map(self._add, given))

    def _add(self, given: ExecutorLike) -> str:
        """Note an executor and return its id."""
        before = len(self._members)
        executor_id = self._members.add(given)
        if len(self._members) > before:
            self._definition = None
        return executor_id

    def _group(self, group: EdgeGroup) -> Self:
        self._definition = None
        self._groups.append(group)
        return self

    # Compilation.

    def _compile(self) -> Definition:
        self._check_ids()
        samples = list(self._members.samples())
        senders = [each for each in samples if _sends_failures(each.policy or self._policy)]
        nodes = {each.id: _node(each, sends_failures=each in senders) for each in samples}
        graph = Graph(self._start, nodes, tuple(self._groups))
        validate(graph)
        check_failure_routes(
            graph,
            (each.id for each in senders if each.policy is not None),
            (each.id for each in senders if each.policy is None),
        )
        outputs, intermediates = check_outputs(
            nodes,
            self._ids("output_from", self._output_from),
            self._ids("intermediate_output_from", self._intermediate_from),
        )
        states = [state_annotation(type(each)) for each in samples if has_typed_state(each)]
        annotations = [kind for each in samples for kind in each.handler_table.annotations]
        if senders:
            annotations.append(ExecutorFailure)
        nested = {each.id: each for each in samples if isinstance(each, WorkflowExecutor)}
        annotations += [kind for each in nested.values() for kind in each.request_types]
        definition = Definition(
            name=self._name,
            description=self._description,
            graph=graph,
            max_supersteps=self._max_supersteps,
            outputs=outputs,
            intermediates=intermediates,
            reducers=self._reducers,
            strict=self._strict,
            checkpoint_failures=self._checkpoint_failures,
            annotations=(*_unique(annotations), *states, *self._state_types),
            policy=self._policy,
            max_concurrency=self._max_concurrency,
            cleanup_grace=self._cleanup_grace,
            upcasters=self._upcasters,
            restores=self._restores,
            children={id_: _nesting(each) for id_, each in nested.items()},
        )
        if self._upcasters:
            _ = definition.codec  # made now: what is wrong with a declaration is found before anything runs
        return definition

    def _ids(self, argument: str, given: Sequence[Executor | str] | str | None) -> Sequence[str] | str | None:
        if given is None or isinstance(given, str):
            return given
        if isinstance(given, Executor):
            raise OutputDesignationError(f"{argument}={given!r}: a list of executors is wanted; write [{given.id!r}]")
        return [self._known_id(argument, each) for each in given]

    def _known_id(self, argument: str, given: Executor | str) -> str:
        executor_id = given if isinstance(given, str) else self._members.find(given)
        if executor_id is None:
            raise OutputDesignationError(
                f"{argument} names {given!r}, which is not an executor of this workflow; give one that was added, or its id"
            )
        return executor_id

    def _check_ids(self) -> None:
        if self._start not in self._members:
            raise MissingStartError(
                f"the start executor {self._start!r} was never added; give the executor itself, or add an edge with it"
            )
        for group in self._groups:
            ends = (*(group.sources if isinstance(group, FanInEdges) else (group.source,)), *group.targets)
            for end in ends:
                if end not in self._members:
                    raise UnknownExecutorError(
                        f"{group} names {end!r}, which was never added; give the executor itself once, or fix the id"
                    )


def _sends_failures(policy: SupervisionPolicy | None) -> bool:
    return policy is not None and policy.on_failure == "send"


def _node(executor: Executor, *, sends_failures: bool) -> Node:
    check_executor(executor)
    table = executor.handler_table
    return Node(
        id=executor.id,
        type_name=executor.signature_name,
        inputs=table.dispatch,
        output_types=(*table.sends, ExecutorFailure) if sends_failures else table.sends,
        workflow_output_types=table.yields,
        response_types=tuple((spec.request, spec.takes) for spec in table.responses),
    )


def _nesting(holder: WorkflowExecutor) -> Nesting:
    return Nesting(
        scheme=holder.definition,
        isolates=holder.isolates,
        propagates=holder.propagate_requests,
        is_direct=holder.allow_direct_output,
        concurrency=holder.concurrency,
    )


def _unique(annotations: Sequence[Any]) -> list[Any]:
    try:
        return list(dict.fromkeys(annotations))
    except TypeError:  # an unhashable annotation, such as Literal of a list; rare enough to compare one by one
        return [each for index, each in enumerate(annotations) if each not in annotations[:index]]

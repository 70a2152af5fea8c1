"""WorkflowExecutor: an executor that holds a whole workflow.

It has no task of its own. The runner drives what it holds, superstep by superstep, beside the workflow it belongs to; see
`actorflow.graph.nesting`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, runtime_checkable

from actorflow.core.annotations import union_of
from actorflow.core.subworkflows import SubWorkflowRequest, SubWorkflowResponse
from actorflow.errors import ActorflowError, ExecutorReusedError, InternalError, WorkflowValidationError
from actorflow.executors.executor import Executor
from actorflow.executors.handler_table import HandlerSpec, HandlerTable

__all__ = ["Nestable", "WorkflowExecutor"]


@runtime_checkable
class Nestable(Protocol):
    """What can be held: a workflow."""

    @property
    def executors(self) -> Mapping[str, Executor]:
        """Its executors by id."""
        ...

    @property
    def input_types(self) -> tuple[Any, ...]:
        """Types of message its start executor takes."""
        ...

    @property
    def output_types(self) -> tuple[Any, ...]:
        """Types of output it may yield."""
        ...

    @property
    def request_types(self) -> tuple[tuple[Any, Any], ...]:
        """(request, response) type pairs it may ask for."""
        ...

    @property
    def graph_signature(self) -> str:
        """What a checkpoint must match to be restored in it."""
        ...

    @property
    def definition(self) -> Any:
        """What it was built from."""
        ...

    @property
    def holder(self) -> str | None:
        """The executor that holds it, if any."""
        ...

    def be_held_by(self, executor_id: str) -> None:
        """Belong to an executor for good: it is not run by itself any more."""
        ...


class WorkflowExecutor(Executor):
    """Runs a workflow inside another one.

    Each message it gets is an input of the child. The child's supersteps are part of its parent's, so they are committed,
    resumed, forked and cancelled with it, and the parent's other executors do not wait for the child to end. What the
    child yields goes along this executor's edges at once, as a message. The child has a state, a superstep count and a
    limit of its own; storage, policies of saving and ownership are the parent's; ``ctx.config`` is passed down.

    Events of the child stream as they happen, with this executor's id in their ``path``.

    Args:
        workflow: A workflow, which keeps its state from input to input and takes one input at a time; or a zero-argument
            factory of workflows (such as ``builder.build``), which gives every input a child of its own.
        id: Unique within the parent.
        propagate_requests: True: the child's requests are open requests of the whole run, answered like any other.
            False: they travel along this executor's edges as `SubWorkflowRequest`; answer by sending
            ``request.respond(value)`` back to this executor.
        allow_direct_output: What the child yields is an output of the parent instead of a message.
        concurrency: How many children of a factory are at work at once; other inputs wait their turn. One that only
            waits for an answer takes up no place.

    Raises:
        WorkflowValidationError: It is no workflow and no factory of one.
        ExecutorReusedError: The workflow is held by another executor already.
        ValueError: `id` is empty; `concurrency` is less than 1, or more than 1 without a factory.
    """

    def __init__(
        self,
        workflow: Nestable | Callable[[], Nestable],
        id: str,  # noqa: A002 - the design's name
        *,
        propagate_requests: bool = True,
        allow_direct_output: bool = False,
        concurrency: int = 1,
    ) -> None:
        super().__init__(id, concurrency=concurrency)
        self.propagate_requests = propagate_requests
        self.allow_direct_output = allow_direct_output
        self._factory = None if isinstance(workflow, Nestable) else workflow
        self._sample = self._made() if self._factory is not None else self._checked(workflow)
        self._unused: Nestable | None = self._sample
        self._table_of_child: HandlerTable | None = None
        if self._factory is None:
            if concurrency > 1:
                raise ValueError(
                    f"executor {id!r} holds one workflow and takes one input at a time; concurrency={concurrency} needs a "
                    f"factory, such as builder.build"
                )
            self._sample.be_held_by(id)

    @property
    def isolates(self) -> bool:
        """Whether every input has a child of its own."""
        return self._factory is not None

    @property
    def definition(self) -> Any:
        """What its children were built from."""
        return self._sample.definition

    def child(self) -> Mapping[str, Executor]:
        """The executors of the child; for a factory those of a new one.

        Raises:
            WorkflowValidationError: The factory makes another workflow now.
            ExecutorReusedError: The factory made one that another executor holds, or the same one again.
        """
        if self._factory is None:
            return self._sample.executors
        made, self._unused = self._unused or self._made(), None
        if made.graph_signature != self._sample.graph_signature:
            raise WorkflowValidationError(
                f"the factory of executor {self.id!r} makes a workflow with another graph now; it makes the same every time"
            )
        made.be_held_by(self.id)
        return made.executors

    @property
    def handler_table(self) -> HandlerTable:
        """What its child takes, sends and yields, as if it were this executor's own doing."""
        if self._table_of_child is None:
            self._table_of_child = self._compile()
        return self._table_of_child

    @property
    def request_types(self) -> tuple[Any, ...]:
        """Types that travel inside requests and answers when these do not surface."""
        if self.propagate_requests:
            return ()
        return tuple(kind for pair in self._sample.request_types for kind in pair)

    @property
    def signature_name(self) -> str:
        """Its type name, and what decides the routing of the child and the way out of it."""
        kind = type(self).type_name or "WorkflowExecutor"
        held = "each" if self.isolates else "one"
        requests = "up" if self.propagate_requests else "along"
        outputs = "direct" if self.allow_direct_output else "sent"
        return f"{kind}({self._sample.graph_signature} {held} {requests} {outputs})"

    def _compile(self) -> HandlerTable:
        made = self._sample.output_types
        sends = () if self.allow_direct_output else made
        if not self.propagate_requests and self._sample.request_types:
            sends = (*sends, SubWorkflowRequest)
        yields = made if self.allow_direct_output else ()
        takes: list[Any] = [union_of(self._sample.input_types)]
        if not self.propagate_requests:
            takes.append(SubWorkflowResponse)
        return HandlerTable(tuple(HandlerSpec(f"{self.id}.child", _never, each, sends, yields) for each in takes), ())

    def _made(self) -> Nestable:
        factory = self._factory
        if not callable(factory):
            raise WorkflowValidationError(
                f"executor {self.id!r} holds a workflow or a factory of workflows, not {factory!r}; give builder.build()"
            )
        try:
            made = factory()
        except ActorflowError:
            raise
        except TypeError as error:
            raise WorkflowValidationError(
                f"{factory!r} of executor {self.id!r} is not a zero-argument factory ({error}); give builder.build"
            ) from error
        return self._checked(made)

    def _checked(self, workflow: Any) -> Nestable:
        if not isinstance(workflow, Nestable):
            raise WorkflowValidationError(
                f"executor {self.id!r} holds a workflow, not {workflow!r}; give builder.build() or builder.build"
            )
        if workflow.holder is not None:
            raise ExecutorReusedError(
                f"{workflow!r} is held by executor {workflow.holder!r} already; build another one for {self.id!r}"
            )
        return workflow


def _never(*_: Any) -> NoReturn:
    raise InternalError("an executor that holds a workflow has no handler to call")

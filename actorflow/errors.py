"""Every error actorflow raises, by whose move it is: your graph, your call, your store, or ours.

A handler's own exception is never wrapped: it comes out of ``run()`` as itself, with a note.
"""

from __future__ import annotations

__all__ = [
    "ActorflowError",
    "AmbiguousHandlersError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "CodecError",
    "ContextClosedError",
    "ConvergenceError",
    "DuplicateEdgeError",
    "DuplicateExecutorError",
    "EdgeGroupError",
    "EncryptionKeyError",
    "EventFormatError",
    "ExecutorReusedError",
    "ExecutorTimeoutError",
    "GraphConnectivityError",
    "GraphMismatchError",
    "HandlerSignatureError",
    "InternalError",
    "LeaseHeldError",
    "LeaseLostError",
    "MessageTypeError",
    "MissingStartError",
    "OutputDesignationError",
    "RequestIdError",
    "RequestNotFoundError",
    "ResponseTypeError",
    "RunEndedError",
    "StateTypeError",
    "SwitchCaseError",
    "TypeCompatibilityError",
    "UndeliverableMessageError",
    "UnknownExecutorError",
    "UnreachableExecutorError",
    "UpcasterError",
    "WorkflowBusyError",
    "WorkflowValidationError",
]


class ActorflowError(Exception):
    """The base of every error that actorflow itself raises. It can be copied and sent to another process."""

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the text: most of these errors make it from typed arguments, which an exception does not keep."""
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[ActorflowError], arguments: tuple[object, ...]) -> ActorflowError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


# Your graph: what is wrong with a definition, found before anything runs.


class WorkflowValidationError(ActorflowError, ValueError):
    """A workflow definition cannot work; each kind of defect has its own subclass."""


class MissingStartError(WorkflowValidationError):
    """The start executor is missing or was never added."""


class DuplicateExecutorError(WorkflowValidationError):
    """Two different executors share one id."""


class ExecutorReusedError(WorkflowValidationError):
    """An executor object was given to a second workflow."""


class UnknownExecutorError(WorkflowValidationError):
    """An id names no executor of this builder."""


class DuplicateEdgeError(WorkflowValidationError):
    """The same pair of executors is joined twice."""


class EdgeGroupError(WorkflowValidationError):
    """A fan-out, selection or fan-in group has too few, repeated or unusable ends."""


class SwitchCaseError(WorkflowValidationError):
    """A switch-case group whose Default is missing, doubled or not last."""


class TypeCompatibilityError(WorkflowValidationError):
    """Nothing the source sends can be taken by the target of an edge."""


class GraphConnectivityError(WorkflowValidationError):
    """An executor has no edge at all."""


class UnreachableExecutorError(GraphConnectivityError):
    """No path leads from the start executor to this one."""


class HandlerSignatureError(WorkflowValidationError, TypeError):
    """A handler's annotations are missing, wrong, or hold unresolved type variables."""


class AmbiguousHandlersError(WorkflowValidationError):
    """Two handlers of one executor claim the same type and neither is more specific."""


class OutputDesignationError(WorkflowValidationError):
    """``output_from`` / ``intermediate_output_from`` name unknown, overlapping or silent executors."""


class StateTypeError(WorkflowValidationError, TypeError):
    """A state type cannot be constructed, or two types claim one stored name."""


class UpcasterError(WorkflowValidationError):
    """An upcaster contradicts itself or another one, can never be used, or leads nowhere."""


# Your call: wrong at run time, refused before anything is touched unless stated otherwise.


class WorkflowBusyError(ActorflowError, RuntimeError):
    """Another run owns this workflow, or an executor holds it.

    Attributes:
        workflow_id: The workflow that is taken.
        run_id: The run that owns it; None if that is not known, or none does.
        holder: The `WorkflowExecutor` that holds it for good, if one does.
    """

    def __init__(self, workflow_id: str, run_id: str | None, *, holder: str | None = None) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.holder = holder
        owner = f"run {run_id!r}" if run_id else "another run"
        super().__init__(
            f"workflow {workflow_id!r} is owned by {owner}; wait for it to end, pass wait=True to queue, "
            f"or build() a second workflow"
            if holder is None
            else f"workflow {workflow_id!r} is held by executor {holder!r} of another workflow for good; run that one, "
            f"or build() a second workflow"
        )


class LeaseHeldError(ActorflowError, RuntimeError):
    """Another process, or another workflow of this one, has the lease of a workflow id.

    Attributes:
        workflow_id: The workflow id that is taken.
        owner: Who has it, e.g. a run id.
        host: Host name and process id of the owner.
        age: Seconds since the owner acquired it.
        expires_in: Seconds until it ends, unless the owner renews it.
    """

    def __init__(self, workflow_id: str, *, owner: str, host: str, age: float, expires_in: float) -> None:
        self.workflow_id = workflow_id
        self.owner = owner
        self.host = host
        self.age = age
        self.expires_in = expires_in
        super().__init__(
            f"workflow {workflow_id!r} is held by run {owner!r} on {host} for {age:.1f} s; pass wait=True to queue; if that "
            f"process crashed, its lease ends in {expires_in:.1f} s; or use another workflow id, or fork a checkpoint"
        )


class LeaseLostError(ActorflowError, RuntimeError):
    """A lease is no longer the current one of its workflow id: whoever held it may not write any more.

    Attributes:
        workflow_id: The workflow id it was for.
        owner: Who held it.
        epoch: Its epoch.
        holder: Who has the workflow id now, if that is known.
        host: Host name and process id of that one.
    """

    def __init__(
        self, workflow_id: str, owner: str, epoch: int, *, holder: str | None = None, host: str | None = None
    ) -> None:
        self.workflow_id = workflow_id
        self.owner = owner
        self.epoch = epoch
        self.holder = holder
        self.host = host
        to = "" if holder is None else f" to {holder!r} on {host}"
        super().__init__(
            f"{owner!r} has lost the lease of workflow {workflow_id!r} (epoch {epoch}){to}; nothing was written under it "
            f"since; go on with checkpoint_id=LATEST in a new run"
        )


class ContextClosedError(ActorflowError, RuntimeError):
    """A handler's context was used after the handler returned, in a hook that has no delivery, or without an await."""


class RequestIdError(ActorflowError, ValueError):
    """A request was given the id of one that is open, or that another made in the same superstep."""


class RunEndedError(ActorflowError, RuntimeError):
    """A run that has ended, or was made without an event channel, was asked for what it cannot do any more."""


class EventFormatError(ActorflowError, ValueError):
    """A text given to `actorflow.events.from_json` is not the JSON of an event."""


class ExecutorTimeoutError(ActorflowError, TimeoutError):
    """An attempt at a delivery took longer than its policy allows; its handler was cancelled and has ended.

    Attributes:
        executor_id: The executor.
        timeout: Seconds it was allowed.
        attempt: Which attempt it was.
    """

    def __init__(self, executor_id: str, timeout: float, attempt: int) -> None:
        self.executor_id = executor_id
        self.timeout = timeout
        self.attempt = attempt
        super().__init__(
            f"executor {executor_id!r} did not finish attempt {attempt} within {timeout:g} s; give its SupervisionPolicy a "
            f"longer timeout, or a retry"
        )


class MessageTypeError(ActorflowError, TypeError):
    """A message or output is outside what the executor declares."""


class UndeliverableMessageError(ActorflowError, LookupError):
    """Strict mode: a message that nothing took.

    Attributes:
        reason: The same word as ``MessageDroppedEvent.reason``.
        source_id: The executor that sent it, or None for the input.
        target_id: The executor it was meant for, where one was named.
    """

    def __init__(self, text: str, *, reason: str, source_id: str | None, target_id: str | None) -> None:
        self.reason = reason
        self.source_id = source_id
        self.target_id = target_id
        super().__init__(text)


class RequestNotFoundError(ActorflowError, KeyError):
    """A response names a request that is not open.

    Attributes:
        request_id: The id that was given.
        open_requests: The ids that could have been answered.
    """

    def __init__(self, request_id: str, open_requests: tuple[str, ...]) -> None:
        self.request_id = request_id
        self.open_requests = open_requests
        if open_requests:
            way_out = f"answer one of these: {', '.join(map(repr, open_requests))}"
        else:
            way_out = (
                "none is open here: it was answered, or its deadline has passed; if it is open in a checkpoint, give "
                "checkpoint_id=LATEST beside the responses"
            )
        self._text = f"no open request {request_id!r}; {way_out}"
        super().__init__(self._text)

    def __str__(self) -> str:
        """Say it as prose: KeyError would print the text in quotes."""
        return self._text


class ResponseTypeError(ActorflowError, TypeError):
    """A response does not fit, and cannot be turned into, the type its request declared."""


class ConvergenceError(ActorflowError, RuntimeError):
    """The superstep limit of a run was reached with messages still in flight.

    The workflow stands on its last committed superstep; ``checkpoint_id=LATEST`` goes on with a fresh limit.

    Attributes:
        workflow_id: The workflow.
        max_supersteps: The limit.
        waiting: Ids of the executors that messages wait for.
    """

    def __init__(self, workflow_id: str, max_supersteps: int, waiting: tuple[str, ...]) -> None:
        self.workflow_id = workflow_id
        self.max_supersteps = max_supersteps
        self.waiting = waiting
        super().__init__(
            f"workflow {workflow_id!r} did not come to rest within {max_supersteps} supersteps; messages wait for "
            f"{', '.join(map(repr, waiting))}; raise max_supersteps, or go on with checkpoint_id=LATEST"
        )


# Your store: what a checkpoint could not do.


class CheckpointError(ActorflowError, RuntimeError):
    """A checkpoint could not be written, read, restored or deleted."""


class CheckpointNotFoundError(CheckpointError, LookupError):
    """No such checkpoint in this storage."""


class GraphMismatchError(CheckpointError, ValueError):
    """A checkpoint was made by a graph that routes differently."""


class CodecError(CheckpointError, ValueError):
    """A value cannot be stored, or stored bytes cannot be read back, exactly.

    Attributes:
        path: Where the value sits, e.g. ``state['cart'].items[3].price``.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem}")


class EncryptionKeyError(CheckpointError, LookupError):
    """A stored value was encrypted with a key that is not among those given.

    Attributes:
        path: Which value.
        key_id: The id of its key, as it is stored.
    """

    def __init__(self, path: str, key_id: str, known: tuple[str, ...]) -> None:
        self.path = path
        self.key_id = key_id
        super().__init__(
            f"{path}: was encrypted with key {key_id!r}, and the keys given are {', '.join(map(repr, known))}; give that key, "
            f"too, in EncryptedStorage(..., keys={{...}})"
        )


# Ours.


class InternalError(ActorflowError, RuntimeError):
    """A broken invariant of actorflow itself: please report it."""

"""Run: the handle on one run, and RunResult, what it came to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NoReturn, Protocol

import attrs
import trio

from actorflow.checkpoint.records import CheckpointID
from actorflow.errors import InternalError, RunEndedError
from actorflow.events import RequestInfoEvent, WorkflowEvent, WorkflowRunState
from actorflow.runtime.explanation import Explanation
from actorflow.runtime.stream import EventChannel, EventLog, EventSink, NoSink, OutputChannel

__all__ = ["Run", "RunResult"]


@attrs.frozen(kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        outputs: Outputs it committed since it began, in canonical order. For a resumed run, since the entry or responses
            checkpoint that began the interrupted one.
        intermediate_outputs: The same for intermediate outputs.
        requests: The requests that are open at its end.
        status: How it ended.
        supersteps: Number of supersteps committed since it began, counted like `outputs`.
        checkpoint_id: The checkpoint it ended on; None without a storage.
    """

    outputs: list[Any]
    intermediate_outputs: list[Any]
    requests: tuple[RequestInfoEvent, ...]
    status: WorkflowRunState
    supersteps: int
    checkpoint_id: CheckpointID | None
    _log: EventLog | None = attrs.field(default=None, eq=False, repr=False)

    @cached_property
    def events(self) -> list[WorkflowEvent]:
        """The events of a ``run()``; empty for a stream, which had them."""
        return [] if self._log is None else self._log.events


class RunControl(Protocol):
    """What a handle needs of the runner."""

    def cancel(self) -> None:
        """Cancel the run."""
        ...

    def respond(self, request_id: str, value: Any) -> None:
        """Answer an open request."""
        ...

    def explain(self) -> Explanation:
        """Say what the run waits for."""
        ...


@attrs.define(eq=False, repr=False)
class Run:
    """One run under way, or ended.

    Attributes:
        id: Unique.
    """

    id: str
    _sink: EventSink
    _control: RunControl | None = None
    _status: WorkflowRunState = WorkflowRunState.IN_PROGRESS
    _result: RunResult | None = None
    _failure: BaseException | None = None
    _raised: bool = False
    _explanation: Callable[[], Explanation] | None = None
    _done: trio.Event = attrs.Factory(trio.Event)

    def __repr__(self) -> str:
        return f"<Run {self.id!r} {self._status.value}>"

    @classmethod
    def logged(cls, run_id: str) -> Run:
        """A run whose events go into its result."""
        return cls(run_id, EventLog())

    @classmethod
    def streamed(cls, run_id: str, buffer: int | None) -> Run:
        """A run whose events are streamed; with ``buffer=None`` it has no channel.

        Raises:
            ValueError: `buffer` is negative, or no whole number.
        """
        if buffer is None:
            return cls(run_id, NoSink())
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 0:
            raise ValueError(f"buffer is a number of events from 0, or None for no channel; not {buffer!r}")
        return cls(run_id, EventChannel.of_size(buffer))

    @property
    def events(self) -> trio.MemoryReceiveChannel[WorkflowEvent]:
        """The events, as they happen. The channel is bounded: a slow reader holds the run back.

        Iteration ends when the run ends, failed or not.

        Raises:
            RunEndedError: The run was made without a channel.
        """
        channel = self._sink if isinstance(self._sink, EventChannel) else None
        if channel is None:
            raise RunEndedError(f"run {self.id!r} has no event channel; give stream() or start() a buffer")
        return channel.receiver

    def outputs(self) -> OutputChannel:
        """The output values alone, as they happen: a view of `events`; use one of the two.

        Raises:
            RunEndedError: The run was made without a channel.
        """
        return OutputChannel(self.events)

    async def respond(self, request_id: str, value: Any) -> None:
        """Answer an open request while the run goes on; it takes effect at the next superstep boundary.

        The answer is checked before anything is touched. If cancelled, the answer was not given.

        Args:
            request_id: The request.
            value: The answer, of the declared type or a JSON-like form of it.

        Raises:
            RequestNotFoundError: No such request is open.
            ResponseTypeError: The answer does not fit.
            RunEndedError: The run has ended.
        """
        await trio.lowlevel.checkpoint()
        if self._control is None or self._done.is_set():
            raise RunEndedError(
                f"run {self.id!r} has ended; give responses= to the next run, or wait_for_responses=True to this one"
            )
        self._control.respond(request_id, value)

    async def wait(self) -> RunResult:
        """Wait for the run to end. Events that are not read are let go. If cancelled, the run goes on.

        Returns:
            The result; also that of a cancelled run.

        Raises:
            Exception: What the run raised; leaving the stream's block does not raise it again.
        """
        if isinstance(self._sink, EventChannel):
            self._sink.detach()
        await self._done.wait()
        if self._failure is not None:
            self._raised = True
            self.raise_failure()
        return self.ended_result()

    def cancel(self) -> None:
        """Cancel the run: its actors are cancelled and waited for, the stream ends, the status is CANCELLED.

        The workflow stands on its last committed superstep. Nothing happens if the run has ended.
        """
        if self._control is not None and not self._done.is_set():
            self._control.cancel()

    @property
    def status(self) -> WorkflowRunState:
        """Where the run is."""
        return self._status

    @property
    def result(self) -> RunResult | None:
        """The result, once the run has ended; also for a failed or cancelled run."""
        return self._result

    def explain(self) -> Explanation:
        """Say what the run waits for: who is at work, which timer, join or request it has open, who owns the workflow.

        A plain call, at any time. After the end it says what the run left: deliveries, timers, joins, requests.

        Raises:
            RunEndedError: The run was refused, so there is nothing to tell.
        """
        if self._control is not None:
            return self._control.explain()
        if self._explanation is None:
            raise RunEndedError(f"run {self.id!r} never began; ask workflow.explain() who owns the workflow")
        return self._explanation()

    # For the runtime.

    @property
    def sink(self) -> EventSink:
        """Where events go."""
        return self._sink

    @property
    def failure(self) -> BaseException | None:
        """What the run raised, if nobody who waited for it was given it."""
        return None if self._raised else self._failure

    def raise_failure(self) -> NoReturn:
        """Raise what the run failed of. Its traceback then leads to this frame, which must not lead back to it."""
        failure = self._failure
        try:
            if failure is None:
                raise InternalError(f"run {self.id!r} has not failed")
            raise failure
        finally:
            del self, failure

    def ended_result(self) -> RunResult:
        """The result of a run that has ended."""
        if self._result is None:
            raise InternalError(f"run {self.id!r} ended without a result")
        return self._result

    def attach(self, control: RunControl) -> None:
        """Connect the runner."""
        self._control = control

    def enter(self, status: WorkflowRunState) -> None:
        """Note the status."""
        self._status = status

    def end(self, result: RunResult, failure: BaseException | None, explanation: Callable[[], Explanation]) -> None:
        """Note how the run ended, and wake who waits for it."""
        self._status = result.status
        self._result = result
        self._failure = failure
        self._explanation = explanation
        self._control = None
        # Who waits now is woken with the failure; one that was cancelled out of its wait is no longer counted.
        self._raised = self._done.statistics().tasks_waiting > 0
        self._done.set()

    def never_began(self) -> None:
        """Close both ends of a channel that nobody was given: the run was refused, or cancelled while it waited."""
        self._sink.close()
        self.leave()

    def about_to_leave(self) -> None:
        """The consumer reads no more, though its end is still open: what finds no room is let go."""
        if isinstance(self._sink, EventChannel):
            self._sink.abandoned = True

    def leave(self) -> None:
        """Close the consumer's end; the run has ended or is cancelled."""
        if isinstance(self._sink, EventChannel):
            self._sink.detach()

"""RunCore: what a run is about, shared by the runner that drives it and the handle that its caller has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import attrs
import trio

from actorflow.errors import InternalError
from actorflow.events import WorkflowRunState
from actorflow.runtime.explanation import Explanation
from actorflow.runtime.run_result import RunResult
from actorflow.runtime.stream import EventChannel, EventLog, EventSink, NoSink

__all__ = ["RunControl", "RunCore"]


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


@attrs.define(eq=False)
class RunCore:
    """One run under way, or ended, as the runtime sees it.

    Attributes:
        id: Unique.
        sink: Where events go.
        control: The runner; None before it is there, and after the end.
        status: Where the run is.
        result: What it came to, once it has ended.
        explanation: What it left, once it has ended.
        done: Set at the end.
    """

    id: str
    sink: EventSink
    control: RunControl | None = None
    status: WorkflowRunState = WorkflowRunState.IN_PROGRESS
    result: RunResult | None = None
    explanation: Callable[[], Explanation] | None = None
    done: trio.Event = attrs.Factory(trio.Event)
    _failure: BaseException | None = None
    _raised: bool = False

    @classmethod
    def logged(cls, run_id: str) -> RunCore:
        """A run whose events go into its result."""
        return cls(run_id, EventLog())

    @classmethod
    def streamed(cls, run_id: str, buffer: int | None) -> RunCore:
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
        if self.result is None:
            raise InternalError(f"run {self.id!r} ended without a result")
        return self.result

    def raised_or_result(self) -> RunResult:
        """What whoever waited for the end is given: the failure, which counts as raised then, or the result."""
        if self._failure is not None:
            self._raised = True
            self.raise_failure()
        return self.ended_result()

    def end(self, result: RunResult, failure: BaseException | None, explanation: Callable[[], Explanation]) -> None:
        """Note how the run ended, and wake who waits for it."""
        self.status = result.status
        self.result = result
        self._failure = failure
        self.explanation = explanation
        self.control = None
        # Who waits now is woken with the failure; one that was cancelled out of its wait is no longer counted.
        self._raised = self.done.statistics().tasks_waiting > 0
        self.done.set()

    def never_began(self) -> None:
        """Close both ends of a channel that nobody was given: the run was refused, or cancelled while it waited."""
        self.sink.close()
        self.leave()

    def about_to_leave(self) -> None:
        """The consumer reads no more, though its end is still open: what finds no room is let go."""
        if isinstance(self.sink, EventChannel):
            self.sink.abandoned = True

    def leave(self) -> None:
        """Close the consumer's end; the run has ended or is cancelled."""
        if isinstance(self.sink, EventChannel):
            self.sink.detach()

"""Run: the caller's handle on one run."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from actorflow.errors import RunEndedError
from actorflow.events import WorkflowEvent, WorkflowRunState
from actorflow.runtime.explanation import Explanation
from actorflow.runtime.run_core import RunCore
from actorflow.runtime.run_result import RunResult
from actorflow.runtime.stream import EventChannel, OutputChannel

__all__ = ["Run"]


@attrs.define(eq=False, repr=False)
class Run:
    """One run under way, or ended: the handle that `Workflow.stream` and `Workflow.start` give."""

    _core: RunCore

    def __repr__(self) -> str:
        return f"<Run {self.id!r} {self._core.status.value}>"

    @property
    def id(self) -> str:
        """Unique."""
        return self._core.id

    @property
    def events(self) -> trio.MemoryReceiveChannel[WorkflowEvent]:
        """The events, as they happen. The channel is bounded: a slow reader holds the run back.

        Iteration ends when the run ends, failed or not.

        Raises:
            RunEndedError: The run was made without a channel.
        """
        channel = self._core.sink if isinstance(self._core.sink, EventChannel) else None
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
        if self._core.control is None or self._core.done.is_set():
            raise RunEndedError(
                f"run {self.id!r} has ended; give responses= to the next run, or wait_for_responses=True to this one"
            )
        self._core.control.respond(request_id, value)

    async def wait(self) -> RunResult:
        """Wait for the run to end. Events that are not read are let go. If cancelled, the run goes on.

        Returns:
            The result; also that of a cancelled run.

        Raises:
            Exception: What the run raised; leaving the stream's block does not raise it again.
        """
        if isinstance(self._core.sink, EventChannel):
            self._core.sink.detach()
        await self._core.done.wait()
        return self._core.raised_or_result()

    def cancel(self) -> None:
        """Cancel the run: its actors are cancelled and waited for, the stream ends, the status is CANCELLED.

        The workflow stands on its last committed superstep. Nothing happens if the run has ended.
        """
        if self._core.control is not None and not self._core.done.is_set():
            self._core.control.cancel()

    @property
    def status(self) -> WorkflowRunState:
        """Where the run is."""
        return self._core.status

    @property
    def result(self) -> RunResult | None:
        """The result, once the run has ended; also for a failed or cancelled run."""
        return self._core.result

    def explain(self) -> Explanation:
        """Say what the run waits for: who is at work, which timer, join or request it has open, who owns the workflow.

        A plain call, at any time. After the end it says what the run left: deliveries, timers, joins, requests.

        Raises:
            RunEndedError: The run was refused, so there is nothing to tell.
        """
        if self._core.control is not None:
            return self._core.control.explain()
        if self._core.explanation is None:
            raise RunEndedError(f"run {self.id!r} never began; ask workflow.explain() who owns the workflow")
        return self._core.explanation()

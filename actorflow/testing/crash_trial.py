"""Playing a workflow to its end over a storage, and what of it must not depend on how often it was cut off."""

from __future__ import annotations

import inspect
import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from actorflow.checkpoint.records import Checkpoint, CheckpointInfo, CheckpointKind
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.effects import PendingRequest
from actorflow.core.snapshot import RESTARTS, Snapshot, split_table
from actorflow.core.timers import Timer
from actorflow.events import ExecutorInvokedEvent, RequestInfoEvent, WorkflowEvent, WorkflowRunState
from actorflow.runtime.run_result import RunResult
from actorflow.testing.crash_media import CrashableStorage
from actorflow.workflow import LATEST, Workflow

__all__ = [
    "Answers",
    "Diary",
    "End",
    "Handling",
    "Scenario",
    "Turn",
    "broken_line",
    "decoded",
    "in_one_piece",
    "play",
    "state_of",
    "take_up",
    "without_runs",
]

Answers = Callable[[RequestInfoEvent], Any] | Mapping[Any, Any]
"""Gives the answer to a request: a function of its event, sync or async, or a mapping from its data."""

Handling = tuple[tuple[str, ...], int, str, str]
"""One delivery as it shows in the events: path, superstep, executor, message. Two that show alike are told apart by number."""


@attrs.frozen(kw_only=True)
class Scenario:
    """What is played.

    Attributes:
        make_workflow: Makes a workflow with fresh executors and always the same id.
        message: Its input.
        answers: Answers its requests; None to let a run that asks end there.
        config: Given to every run.
        durability: Of every run.
    """

    make_workflow: Callable[[], Workflow]
    message: Any
    answers: Answers | None = None
    config: Mapping[str, Any] | None = None
    durability: Any = None

    def check(self) -> None:
        """Refuse a factory whose workflows could not take each other up.

        Raises:
            ValueError: Each has an id of its own, or all are one object.
        """
        one, other = self.make_workflow(), self.make_workflow()
        if one is other:
            raise ValueError(
                "make_workflow gives one object every time; let it build a fresh one, with fresh executors"
            )
        if one.id != other.id:
            raise ValueError("make_workflow makes workflows with different ids; give them one: build(id='...')")

    def how(self, *, is_begun: bool) -> dict[str, Any]:
        """How a run is begun: from the latest checkpoint, or with the input where there is none."""
        return {"checkpoint_id": LATEST} if is_begun else {"message": self.message}

    async def answer(self, request: RequestInfoEvent) -> Any:
        """Answer a request."""
        assert self.answers is not None
        if isinstance(self.answers, Mapping):
            return self.answers[request.data]
        given = self.answers(request)
        return await given if inspect.isawaitable(given) else given


@attrs.define(eq=False)
class Diary:
    """Which deliveries were handled, as the events tell.

    Attributes:
        handled: How often each.
        saw: Called with every event.
    """

    handled: Counter[Handling] = attrs.field(factory=Counter)
    saw: Callable[[WorkflowEvent], None] = lambda _: None
    _reading: trio.MemoryReceiveChannel[WorkflowEvent] | None = None

    async def read(self, events: trio.MemoryReceiveChannel[WorkflowEvent]) -> None:
        """Read a run's events to their end."""
        self._reading = events
        async for event in events:
            self._note(event)
            self.saw(event)

    def close(self) -> None:
        """Read what has happened up to this instant; the caller cancels `read` at once.

        One event may be in its hands already, and is noted when it wakes: a cancellation takes nothing back.
        """
        while self._reading is not None:
            try:
                self._note(self._reading.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                self._reading = None

    def _note(self, event: WorkflowEvent) -> None:
        if isinstance(event, ExecutorInvokedEvent):
            self.handled[event.path, event.superstep, event.executor_id, without_runs(repr(event.data))] += 1


@attrs.frozen
class Turn:
    """What a run gave: up to a pause, or to the end."""

    status: WorkflowRunState
    outputs: list[Any]
    intermediate_outputs: list[Any]
    requests: list[tuple[str, Any]]

    @classmethod
    def of(cls, result: RunResult) -> Turn:
        """What of a result must not depend on how it came about."""
        requests = sorted(((each.executor_id, each.data) for each in result.requests), key=repr)
        return cls(result.status, result.outputs, result.intermediate_outputs, requests)


@attrs.frozen
class End:
    """How it all ended.

    Attributes:
        turns: What each run gave.
        state: The committed state, encoded, ids of runs and times of day aside.
        dues: When what waits for a time is due, in seconds since 1970 UTC, by its key in the state.
        line: Every checkpoint, oldest first.
    """

    turns: list[Turn]
    state: Mapping[str, bytes]
    line: list[CheckpointInfo]
    dues: Mapping[str, float]

    @classmethod
    async def of(cls, turns: list[Turn], workflow: Workflow, storage: CheckpointStorage) -> End:
        """Read it from the storage alone."""
        latest = await storage.latest(workflow_id=workflow.id)
        line = await storage.list(workflow_id=workflow.id)
        state, dues = ({}, {}) if latest is None else state_of(latest, workflow)
        return cls(turns, state, line[::-1], dues)


async def in_one_piece(scenario: Scenario, medium: CrashableStorage[Any]) -> End:
    """The end of a run that nothing interrupts."""
    try:
        over, workflow = medium.open(), scenario.make_workflow()
        turns = await play(scenario, workflow, over, Diary(), {"message": scenario.message})
        return await End.of(turns, workflow, over)
    finally:
        medium.close()


async def take_up(scenario: Scenario, workflow: Workflow, storage: CheckpointStorage, diary: Diary) -> list[Turn]:
    """Go on from the latest checkpoint, or begin where there is none, and answer what is asked, to the end."""
    stored = await storage.latest(workflow_id=workflow.id)
    return await play(scenario, workflow, storage, diary, scenario.how(is_begun=stored is not None))


async def play(
    scenario: Scenario, workflow: Workflow, storage: CheckpointStorage, diary: Diary, how: dict[str, Any]
) -> list[Turn]:
    """Run, and answer what is asked, to the end."""
    turns = []
    while True:
        result = await _run(scenario, workflow, storage, diary, how)
        turns.append(Turn.of(result))
        if not result.requests or scenario.answers is None or result.status is WorkflowRunState.CANCELLED:
            return turns
        how = {"responses": {each.request_id: await scenario.answer(each) for each in result.requests}}


async def _run(
    scenario: Scenario, workflow: Workflow, storage: CheckpointStorage, diary: Diary, how: dict[str, Any]
) -> RunResult:
    async with workflow.stream(
        **how,
        checkpoint_storage=storage,
        durability=scenario.durability,
        config=scenario.config,
        wait=True,
        buffer=_BUFFER,
    ) as run:
        await diary.read(run.events)
    assert run.result is not None
    return run.result


_BUFFER = 1024


def decoded(checkpoint: Checkpoint, workflow: Workflow) -> Snapshot:
    """The state that a checkpoint holds."""
    return workflow._core.definition.codec.decode(checkpoint.contents, checkpoint.superstep)  # noqa: SLF001 - the kit looks inside


def state_of(checkpoint: Checkpoint, workflow: Workflow) -> tuple[Mapping[str, bytes], Mapping[str, float]]:
    """The state that a checkpoint holds, and what of it is due when; in two runs of one workflow they are the same.

    Delivery ids, and the request ids made of them, begin with the id of the run that began, which is left out. When executors
    were restarted is a time of day, and left out too; when a timer or a request is due is told beside the state.
    """
    snapshot = decoded(checkpoint, workflow)
    origin = snapshot.mark.origin if snapshot.mark else checkpoint.run_id
    encode = workflow._core.definition.codec.encode  # noqa: SLF001 - the kit looks inside
    state, dues = {}, {}
    for key, stored in checkpoint.contents.items():
        table, _, name = key.partition("/")
        if key in _NO_STATE or split_table(table)[1] == RESTARTS:
            continue
        known, value = key.replace(origin, "<run>"), snapshot.get((table, name))
        if isinstance(value, Timer | PendingRequest) and value.due is not None:
            dues[known] = value.due
            stored = encode((table, name), attrs.evolve(value, due=0.0))  # noqa: PLW2901 - the same, time of day aside
        state[known] = stored.replace(origin.encode(), b"<run>")
    return state, dues


_NO_STATE = ("chain/", "run")
_RUN = re.compile(r"\b[0-9a-f]{32}(?=-[0-9]+-[0-9]+)")  # what a delivery id begins with, and so a request id


def without_runs(told: str) -> str:
    """What is told of a message that may hold request ids, ids of runs aside."""
    return _RUN.sub("<run>", told)


def broken_line(line: list[CheckpointInfo], *, every_superstep: bool) -> str | None:
    """Why these are not one line of checkpoints without a gap; None if they are.

    Args:
        line: All of a workflow id, oldest first.
        every_superstep: Whether each superstep has one.
    """
    if line and line[0].parent_id is not None:
        return f"the first checkpoint has parent {line[0].parent_id!r}"
    for number, (parent, child) in enumerate(itertools.pairwise(line), 1):
        if child.parent_id != parent.id:
            return f"checkpoint {number + 1} of {len(line)} has parent {child.parent_id!r}, not {parent.id!r}"
        step = child.superstep - parent.superstep
        if step != (child.kind is CheckpointKind.SUPERSTEP) and (every_superstep or step < 0):
            return f"superstep {child.superstep} ({child.kind}) follows superstep {parent.superstep}"
    return None

"""The public types, as a specification that mypy executes; nothing here is run.

`assert_type` says what an expression is; a line with an ignored error must have that very error, since an ignore that
ignores nothing is itself an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Never, assert_type

import attrs
import trio

from actorflow import (
    LATEST,
    Case,
    Checkpoint,
    CheckpointID,
    CheckpointInfo,
    CheckpointStorage,
    Default,
    EncryptedStorage,
    Executor,
    ExecutorFailure,
    Explanation,
    InMemoryCheckpointStorage,
    PostgresCheckpointStorage,
    RateLimit,
    RequestTimeout,
    RestartIntensity,
    Retry,
    Run,
    RunResult,
    SqliteCheckpointStorage,
    SubWorkflowRequest,
    SubWorkflowResponse,
    SupervisionPolicy,
    Upcaster,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    executor,
    handler,
    response_handler,
)
from actorflow.errors import ActorflowError, RequestNotFoundError, WorkflowBusyError, WorkflowValidationError
from actorflow.events import (
    ExecutorFailedEvent,
    MessageDroppedEvent,
    OutputEvent,
    StatusEvent,
    WorkflowEvent,
    WorkflowRunState,
    from_json,
    to_json,
)
from actorflow.storage import ABSENT, Diff, FsckReport


@attrs.frozen
class Draft:
    text: str


@attrs.frozen(kw_only=True)
class Progress(WorkflowEvent):
    done: float


class Writer(Executor):
    @handler
    async def write(self, topic: str, ctx: WorkflowContext[Draft]) -> None:
        assert_type(ctx.send_message(Draft(topic)), None)
        ctx.send_message(Draft(topic), target_id="editor")
        ctx.send_message(topic)  # type: ignore[arg-type]
        await ctx.yield_output(topic)  # type: ignore[arg-type]

    @handler(input=int, output=Draft)
    async def number(self, topic: int, ctx: WorkflowContext[Draft]) -> None:
        assert_type(ctx.source_executor_ids, tuple[str, ...])
        assert_type(ctx.superstep, int)
        assert_type(ctx.attempt, int)
        assert_type(ctx.delivery_id, str)
        assert_type(ctx.config, Mapping[str, Any])
        assert_type(ctx.has_state("key"), bool)
        assert_type(ctx.get_state("key", 0), Any)
        ctx.set_state("key", topic)
        ctx.delete_state("key")
        await ctx.add_event(Progress(done=0.5))
        await ctx.add_event("no event")  # type: ignore[arg-type]


class Editor(Executor):
    state: list[str]

    @handler
    async def edit(self, draft: Draft, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(draft.text.upper())
        await ctx.yield_output(draft)  # type: ignore[arg-type]
        ctx.send_message(draft)  # type: ignore[arg-type]
        assert_type(ctx.request_info(draft, bool), str)
        assert_type(ctx.request_info(draft, bool | None, request_id="mine"), str)

    @response_handler
    async def approved(self, draft: Draft, answer: bool, ctx: WorkflowContext[Draft | int, str]) -> None:
        assert_type(ctx.request_id, str | None)
        ctx.send_message(draft)
        ctx.send_message(1)
        narrower: WorkflowContext[Draft, str] = ctx  # what may send more may stand where less is sent
        wider: WorkflowContext[Draft | int | bytes, str] = ctx  # type: ignore[assignment]
        del narrower, wider

    async def on_start(self, ctx: WorkflowContext[Any, Any]) -> None:
        self.state.append("started")

    async def on_checkpoint_save(self) -> Mapping[str, Any]:
        return {"seen": self.state}


class Patient(Executor):
    @handler
    async def begin(self, topic: str, ctx: WorkflowContext[str]) -> None:
        assert_type(ctx.send_message(topic, delay=60), None)
        ctx.send_message(topic, "editor", delay=timedelta(days=1))
        assert_type(ctx.request_info(topic, bool, timeout=timedelta(hours=1)), str)
        ctx.send_message(topic, delay="an hour")  # type: ignore[arg-type]
        ctx.send_message(topic, "editor", 60)  # type: ignore[call-arg]
        ctx.request_info(topic, bool, timeout="an hour")  # type: ignore[arg-type]

    @response_handler
    async def settle(self, topic: str, answer: bool | RequestTimeout, ctx: WorkflowContext[str]) -> None:
        if isinstance(answer, RequestTimeout):
            assert_type(answer.request_id, str)
            assert_type(answer.timeout, float)


class Manager(Executor):
    @handler
    async def answer(self, request: SubWorkflowRequest, ctx: WorkflowContext[SubWorkflowResponse]) -> None:
        assert_type(request.data, Any)
        assert_type(request.respond(True), SubWorkflowResponse)
        ctx.send_message(request.respond(True), request.executor_id)

    @handler
    async def apologise(self, failure: ExecutorFailure, ctx: WorkflowContext[Never, str]) -> None:
        assert_type(failure.executor_id, str)
        assert_type(failure.error_type, str)
        assert_type(failure.error_message, str)
        assert_type(failure.message, object)
        assert_type(failure.attempts, int)


class Bare(Executor):
    @handler
    async def take(self, message: str, ctx: WorkflowContext) -> None:
        ctx.send_message(message)  # type: ignore[arg-type]


@executor
async def plain(message: str, ctx: WorkflowContext[str]) -> None:
    ctx.send_message(message)


@executor(id="named", concurrency=2)
def sync(message: str) -> None:
    print(message)


def decorators_keep_what_they_decorate(writer: Writer, ctx: WorkflowContext[Draft]) -> None:
    writer.write(1, ctx)  # type: ignore[arg-type, unused-coroutine]
    executors: Sequence[Executor] = [plain, sync, writer]
    del executors


def is_short(draft: Draft) -> bool:
    return len(draft.text) < 10


async def is_long(draft: Draft) -> bool:
    await trio.lowlevel.checkpoint()
    return not is_short(draft)


async def some(draft: Draft, targets: list[str]) -> list[str]:
    await trio.lowlevel.checkpoint()
    return targets[: len(draft.text)]


def builders_take_objects_factories_and_ids() -> Workflow:
    builder = WorkflowBuilder(
        name="article",
        start_executor=lambda: Writer(id="writer"),
        max_supersteps=10,
        output_from=["editor", Editor(id="x")],
        intermediate_output_from="all_other",
        reducers={"seen": max},
        state_types=[Draft],
        checkpoint_storage=InMemoryCheckpointStorage(),
        checkpoint_failures="warn",
    )
    assert_type(builder.add_edge("writer", Editor(id="editor"), is_short), WorkflowBuilder)
    assert_type(builder.add_edge("writer", "editor", is_long), WorkflowBuilder)
    assert_type(builder.add_fan_out_edges("writer", ["editor", plain, lambda: Bare(id="bare")]), WorkflowBuilder)
    assert_type(builder.add_fan_in_edges(["writer", "editor"], plain, wait="active"), WorkflowBuilder)
    assert_type(builder.add_chain(["writer", plain, sync]), WorkflowBuilder)
    builder.add_multi_selection_edge_group("writer", ["editor", "named"], some)
    builder.add_multi_selection_edge_group("writer", ["editor", "named"], lambda _, ids: ids[:1])
    builder.add_switch_case_edge_group("writer", [Case(is_long, "editor"), Case(is_short, plain), Default(sync)])
    WorkflowBuilder("article", Writer(id="writer"))  # type: ignore[call-arg]
    WorkflowBuilder(name="article")  # type: ignore[call-arg]
    WorkflowBuilder(name="article", start_executor=1)  # type: ignore[arg-type]
    WorkflowBuilder(name="article", start_executor="a", checkpoint_failures="ignore")  # type: ignore[arg-type]
    builder.add_edge("writer", "editor", "is_short")  # type: ignore[arg-type]
    builder.build("positional")  # type: ignore[call-arg]
    return assert_type(builder.build(id="mine"), Workflow)


def policies_are_plain_data() -> WorkflowBuilder:
    retry = Retry(5, delay=1, factor=2, max_delay=60, jitter=0.1, on=(OSError, TimeoutError))
    Retry(attempts=2, on=OSError)
    Retry(attempts=2, on=lambda error: isinstance(error, OSError))
    Retry()  # type: ignore[call-arg]
    Retry(2, on="OSError")  # type: ignore[arg-type]
    policy = SupervisionPolicy(timeout=30, retry=retry, on_failure="restart", restarts=RestartIntensity(3, 60))
    SupervisionPolicy(on_failure="ignore")  # type: ignore[arg-type]
    SupervisionPolicy(timeout=timedelta(seconds=1))  # type: ignore[arg-type]
    policy.timeout = 1  # type: ignore[misc]
    Writer("writer", policy=retry)  # type: ignore[arg-type]
    start = Writer("writer", policy=policy, concurrency=2, rate_limit=RateLimit(limit=5, period=60))
    return WorkflowBuilder(name="article", start_executor=start, policy=policy, max_concurrency=9, cleanup_grace=1)


def workflows_are_executors(builder: WorkflowBuilder) -> list[Executor]:
    WorkflowExecutor(builder, "child")  # type: ignore[arg-type]
    WorkflowExecutor(builder.build)  # type: ignore[call-arg]
    return [
        WorkflowExecutor(builder.build, "child", propagate_requests=False, concurrency=4),
        WorkflowExecutor(builder.build(), "kept", allow_direct_output=True),
    ]


def explaining(workflow: Workflow, run: Run) -> str:
    explanation = assert_type(workflow.explain(), Explanation)
    assert_type(run.explain(), Explanation)
    assert_type(explanation.waits_for, str)
    assert_type(explanation.owner, str | None)
    assert_type(explanation.head, CheckpointID | None)
    assert_type([timer.due_in for timer in explanation.timers], list[float])
    assert_type([request.expires_in for request in explanation.requests], list[float | None])
    return str(explanation)


async def running(workflow: Workflow, storage: CheckpointStorage) -> None:
    result = await workflow.run("trio")
    assert_type(result, RunResult)
    assert_type(result.outputs, list[Any])
    assert_type(result.intermediate_outputs, list[Any])
    assert_type(result.status, WorkflowRunState)
    assert_type(result.events, list[WorkflowEvent])
    assert_type(result.supersteps, int)
    assert_type(result.checkpoint_id, CheckpointID | None)
    for request in result.requests:
        assert_type(request.request_id, str)
    await workflow.run(checkpoint_id=LATEST, checkpoint_storage=storage, durability="exit")
    await workflow.run(responses={"id": True}, config={"token": "secret"}, wait=True)
    await workflow.run("trio", durability="sometimes")  # type: ignore[arg-type]
    assert_type(await workflow.reset(), None)
    assert_type(workflow.status, WorkflowRunState)
    assert_type(workflow.name, str)
    assert_type(workflow.id, str)
    assert_type(workflow.graph_signature, str)
    assert_type(workflow.input_types, tuple[Any, ...])
    assert_type(workflow.output_types, tuple[Any, ...])
    assert_type(workflow.executors, Mapping[str, Executor])
    assert_type(workflow.head, CheckpointID | None)


async def streaming(workflow: Workflow) -> None:
    opened: AbstractAsyncContextManager[Run] = workflow.stream("trio", buffer=None, wait_for_responses=True)
    async with opened as run:
        assert_type(run, Run)
        assert_type(await run.wait(), RunResult)
    async with workflow.stream("trio", buffer=8) as run:
        assert_type(run.id, str)
        assert_type(run.status, WorkflowRunState)
        async for event in run.events:
            assert_type(event, WorkflowEvent)
            tell(event)
        async for output in run.outputs():
            assert_type(output, Any)
        run.respond("id", 1)  # type: ignore[unused-coroutine]
        run.cancel()
    async with trio.open_nursery() as nursery:
        started: Run = await nursery.start(workflow.start, "trio")
        started.cancel()


def tell(event: WorkflowEvent) -> str:
    assert_type(event.run_id, str)
    assert_type(event.sequence, int)
    assert_type(event.time, float)
    assert_type(event.superstep, int)
    assert_type(event.path, tuple[str, ...])
    match event:
        case OutputEvent(executor_id=who, data=data):
            assert_type(who, str)
            assert_type(data, Any)
        case StatusEvent(status=status):
            assert_type(status, WorkflowRunState)
        case ExecutorFailedEvent():
            assert_type(event.executor_id, str)
        case MessageDroppedEvent():
            assert_type(event.source_id, str | None)
            assert_type(event.target_id, str | None)
        case Progress(done=done):
            assert_type(done, float)
        case _:
            pass
    event.superstep = 2  # type: ignore[misc]
    assert_type(from_json(to_json(event), types=(Progress,)), WorkflowEvent)
    return assert_type(to_json(event), str)


async def storing(storage: CheckpointStorage) -> None:
    checkpoint = await storage.load(CheckpointID("id"))
    assert_type(checkpoint, Checkpoint)
    assert_type(checkpoint.id, CheckpointID)
    assert_type(checkpoint.parent_id, CheckpointID | None)
    assert_type(await storage.latest(workflow_id="mine"), Checkpoint | None)
    for info in await storage.list(workflow_id="mine", limit=3):
        assert_type(info, CheckpointInfo)
    for info in await storage.lineage(checkpoint.id):
        assert_type(info, CheckpointInfo)
    text: str = checkpoint.id
    del text


def storages_are_storages() -> list[CheckpointStorage]:
    memory = InMemoryCheckpointStorage(max_payload=1_000)
    encrypted = EncryptedStorage(memory, keys={"2026-11": bytes(32)}, current="2026-11")
    EncryptedStorage(memory, keys={"2026-11": "secret"}, current="2026-11")  # type: ignore[dict-item]
    postgres = PostgresCheckpointStorage("dbname=work", schema="mine", lease_ttl=60, max_payload=1_000)
    PostgresCheckpointStorage()  # type: ignore[call-arg]
    return [memory, SqliteCheckpointStorage("file.db", max_payload=1_000), encrypted, postgres]


async def tools_come_with_every_storage(workflow: Workflow, storage: PostgresCheckpointStorage) -> None:
    with storage as opened:
        assert_type(opened, PostgresCheckpointStorage)
    with EncryptedStorage(storage, keys={"2026-11": bytes(32)}, current="2026-11") as encrypted:
        assert_type(encrypted, EncryptedStorage)
        assert_type(await encrypted.history("mine"), list[CheckpointInfo])
    first, *_ = await storage.history("mine")
    assert_type(await storage.fork(first.id, workflow_id="other", state={"key": ABSENT}), CheckpointInfo)
    assert_type(await storage.diff(first.id, "id", types=workflow.stored_types), Diff)
    assert_type(await storage.fsck(check=workflow.check_checkpoint, deep=True), FsckReport)
    assert_type(await storage.prune(older_than=timedelta(days=30)), int)
    await storage.prune(older_than=30)  # type: ignore[arg-type]
    assert_type(await storage.vacuum(), int)
    assert_type(await encrypted.vacuum(), int)


def upcasters_are_plain_functions() -> list[Upcaster]:
    return [
        Upcaster("OldDraft", Draft),
        Upcaster("Draft", version=1, convert=lambda fields: {**fields, "words": 0}),
        Upcaster("Money", replace=lambda fields: int(fields["amount"])),
        Upcaster("Draft", to="Text", version=2, convert=dict, to_version=1),
    ]


def errors_fit_builtins() -> None:
    busy: RuntimeError = WorkflowBusyError("workflow", None)
    unknown: KeyError = RequestNotFoundError("id", ())
    invalid: ValueError = WorkflowValidationError("text")
    ours: list[ActorflowError] = [WorkflowBusyError("workflow", "run"), RequestNotFoundError("id", ("other",))]
    assert_type(RequestNotFoundError("id", ()).open_requests, tuple[str, ...])
    del busy, unknown, invalid, ours


def conditions_are_functions(condition: Callable[[Any], bool]) -> Case:
    return assert_type(Case(condition, "target"), Case)

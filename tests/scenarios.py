"""Executors, workflows and questions that several test files share."""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Never

import attrs
import trio

import actorflow.workflow
from actorflow import (
    Case,
    Default,
    Executor,
    InMemoryCheckpointStorage,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    response_handler,
)
from actorflow.core.effects import REMOVED
from actorflow.core.snapshot import EXECUTORS, Snapshot


class Relay(Executor):
    """Sends on what it gets, marked with its own id."""

    @handler
    async def relay(self, text: str, ctx: WorkflowContext[str]) -> None:
        await trio.lowlevel.checkpoint()
        ctx.send_message(f"{text}>{self.id}")


class Many(Executor):
    """Sends the numbers below the one it gets."""

    @handler
    async def spread(self, count: int, ctx: WorkflowContext[int]) -> None:
        for number in range(count):
            ctx.send_message(number)


class Tell(Executor):
    """Yields what it gets."""

    @handler
    async def tell(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(text)


class Join(Executor):
    """Yields the list it gets as one text."""

    @handler
    async def join(self, texts: list[str], ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output("+".join(texts))


@attrs.define
class Tally:
    """A typed state."""

    seen: list[str] = attrs.Factory(list)


class Counter(Executor):
    """Keeps what it saw in a typed state, and sends how much that is."""

    state: Tally

    @handler
    async def count(self, text: str, ctx: WorkflowContext[str]) -> None:
        self.state.seen.append(text)
        await trio.lowlevel.checkpoint()
        ctx.send_message(f"{text}:{len(self.state.seen)}")


class Ledger(Executor):
    """Keeps what it saw behind hooks, one of which awaits."""

    def __init__(self, id: str) -> None:  # noqa: A002
        super().__init__(id)
        self.entries: list[str] = []

    @handler
    async def enter(self, text: str, ctx: WorkflowContext[str]) -> None:
        self.entries.append(text)
        await trio.lowlevel.checkpoint()
        ctx.send_message(f"{text}#{len(self.entries)}")

    async def on_checkpoint_save(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"entries": self.entries}

    async def on_checkpoint_restore(self, state: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.entries = list(state["entries"])


class Note(Executor):
    """Adds what it gets to the shared log, and yields it."""

    @handler
    async def note(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        ctx.set_state("log", [text])
        ctx.set_state("last", text)
        await trio.lowlevel.checkpoint()
        await ctx.yield_output(text)


class Asker(Executor):
    """Asks about what it gets, and sends the answer on."""

    @handler
    async def ask(self, text: str, ctx: WorkflowContext[str]) -> None:
        await trio.lowlevel.checkpoint()
        ctx.request_info(text, str)

    @response_handler
    async def answered(self, request: str, answer: str, ctx: WorkflowContext[str]) -> None:
        await trio.lowlevel.checkpoint()
        ctx.send_message(f"{request}={answer}")


def concatenated(old: list[Any], new: list[Any]) -> list[Any]:
    return old + new


def plain(storage: Any = None, **options: Any) -> Workflow:
    """start -> (a, b) -> end, with a reducer: fan-out and merged writes."""
    return (
        WorkflowBuilder(
            name="plain",
            start_executor=lambda: Relay(id="start"),
            checkpoint_storage=storage,
            reducers={"log": concatenated},
            **options,
        )
        .add_fan_out_edges("start", [lambda: Relay(id="a"), lambda: Relay(id="b")])
        .add_edge("a", lambda: Note(id="end"))
        .add_edge("b", "end")
        .build(id="w")
    )


def joined(storage: Any = None, **options: Any) -> Workflow:
    """start -> (ask, a) joined at end: the join holds a's message while ask waits for an answer."""
    return (
        WorkflowBuilder(name="joined", start_executor=lambda: Relay(id="start"), checkpoint_storage=storage, **options)
        .add_fan_out_edges("start", [lambda: Asker(id="ask"), lambda: Relay(id="a")])
        .add_fan_in_edges(["a", "ask"], lambda: Join(id="end"))
        .build(id="w")
    )


def stateful(storage: Any = None, **options: Any) -> Workflow:
    """counter -> ledger -> note: typed state, hooks that await, shared state."""
    return (
        WorkflowBuilder(
            name="stateful",
            start_executor=lambda: Counter(id="counter"),
            checkpoint_storage=storage,
            reducers={"log": concatenated},
            **options,
        )
        .add_chain(["counter", lambda: Ledger(id="ledger"), lambda: Note(id="note")])
        .build(id="w")
    )


def switched(storage: Any = None, **options: Any) -> Workflow:
    """Numbers through a switch and a selection to workers of concurrency 3, gathered in one log."""
    return (
        WorkflowBuilder(
            name="switched",
            start_executor=lambda: Many(id="many"),
            checkpoint_storage=storage,
            reducers={"log": concatenated},
            **options,
        )
        .add_switch_case_edge_group(
            "many",
            [Case(lambda number: number % 3 == 0, lambda: Worker(id="thirds")), Default(lambda: Worker(id="rest"))],
        )
        .add_multi_selection_edge_group(
            "rest",
            [lambda: Note(id="left"), lambda: Note(id="right")],
            lambda text, ids: ids if "4" in text else ids[:1],
        )
        .add_edge("thirds", "right")
        .build(id="w")
    )


class Worker(Executor):
    """Works on several numbers at once, the later ones faster."""

    def __init__(self, id: str) -> None:  # noqa: A002
        super().__init__(id, concurrency=3)

    @handler
    async def work(self, number: int, ctx: WorkflowContext[str]) -> None:
        await trio.sleep(1 / (1 + number))
        ctx.set_state("log", [number])
        ctx.send_message(f"{self.id}{number}")


# Questions.


def standing(workflow: Workflow) -> tuple[Any, ...]:
    """Everything a workflow stands on: what must be equal where two workflows stand on the same superstep."""
    snapshot = workflow._core.standing.snapshot
    tables = {table: dict(values) for table, values in snapshot.tables.items() if values and table != "run"}
    return snapshot.superstep, tables, own_states(workflow)


def own_states(workflow: Workflow) -> dict[str, Any]:
    """What each executor keeps, as it is now."""
    found: dict[str, Any] = {}
    for id_, each in workflow.executors.items():
        if isinstance(each, Counter):
            found[id_] = attrs.asdict(each.state)
        elif isinstance(each, Ledger):
            found[id_] = list(each.entries)
    return found


def committed_states(workflow: Workflow) -> dict[str, Any]:
    """What each executor keeps, as the last committed superstep left it."""
    snapshot: Snapshot = workflow._core.standing.snapshot
    found: dict[str, Any] = {}
    for id_, each in workflow.executors.items():
        value = snapshot.get((EXECUTORS, id_))
        if isinstance(each, Counter):
            found[id_] = attrs.asdict(Tally() if value is REMOVED else value)
        elif isinstance(each, Ledger):
            found[id_] = [] if value is REMOVED else value["entries"]
    return found


def borrowers(workflow: Workflow) -> int:
    """How many runs hold the workflow, and how many wait for it."""
    limiter = workflow._core.ownership._limiter.statistics()
    return limiter.borrowed_tokens + limiter.tasks_waiting


async def history(storage: InMemoryCheckpointStorage) -> list[tuple[Any, ...]]:
    """All checkpoints, oldest first, times of day aside."""
    found = []
    for info in reversed(await storage.list()):
        checkpoint = await storage.load(info.id)
        found.append((info.id, info.parent_id, info.superstep, info.kind, info.sequence, dict(checkpoint.contents)))
    return found


async def check_lineage(storage: InMemoryCheckpointStorage, head: str | None) -> None:
    """Every parent exists, and there is one line with one head, which the workflow stands on (P5)."""
    infos = await storage.list()
    ids = {info.id for info in infos}
    parents = [info.parent_id for info in infos if info.parent_id is not None]
    assert set(parents) <= ids
    leaves = ids - set(parents)
    assert len(parents) == len(set(parents))
    assert leaves == ({head} if head else set())
    assert sum(info.parent_id is None for info in infos) == bool(infos)


@contextmanager
def counted_ids() -> Iterator[None]:
    """Run ids 1, 2, 3, ... instead of random ones, so that whole histories can be compared."""

    @attrs.frozen
    class _Id:
        hex: str

    numbers = itertools.count(1)
    original = uuid.uuid4
    actorflow.workflow.uuid.uuid4 = lambda: _Id(f"run{next(numbers)}")  # type: ignore[attr-defined, assignment]
    try:
        yield
    finally:
        actorflow.workflow.uuid.uuid4 = original  # type: ignore[attr-defined]


def events_of(events: Iterable[Any], kind: type) -> list[Any]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def chain(*executors: Executor | Callable[[], Executor], **options: Any) -> Workflow:
    """A row of executors."""
    builder = WorkflowBuilder(name="chain", start_executor=executors[0], **options)
    return (builder.add_chain(executors) if len(executors) > 1 else builder).build(id="w")

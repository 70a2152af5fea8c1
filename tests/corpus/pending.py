"""Workflows that were left while something was pending: timers, deadlines, children, attempts, restarts, half a superstep.

Like those of `tests.corpus.workflows` they are given the classes of an era, and none of the two may be changed without an upcaster.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Never

from actorflow import (
    Executor,
    RequestTimeout,
    RestartIntensity,
    Retry,
    SupervisionPolicy,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    handler,
    response_handler,
)
from tests.corpus.workflows import Era, weight

Act = Callable[[WorkflowContext[Any, Any]], Awaitable[None]]
"""What becomes of a delivery: it returns, raises, or never ends."""


async def nothing(ctx: WorkflowContext[Any, Any]) -> None:
    """Go on."""


def builder(name: str, start: Any, era: Era, storage: Any = None) -> WorkflowBuilder:
    """With all classes of the era, of which not every workflow sends each."""
    types = [era.parcel, era.leave]
    return WorkflowBuilder(
        name=name, start_executor=start, checkpoint_storage=storage, upcasters=era.upcasters, state_types=types
    )


def post(storage: Any, era: Era, *, id: str = "post") -> Any:  # noqa: A002
    """Delivers after 90 s and weighs after 30; both come together at a join, the first by a timer of the join's own."""
    parcel = era.parcel

    class Dispatch(Executor):
        @handler
        async def dispatch(self, message: parcel, ctx: WorkflowContext[parcel]) -> None:
            ctx.send_message(message, "weigh", delay=30)
            ctx.send_message(message, delay=90)

    class Weigh(Executor):
        @handler
        async def weigh(self, message: parcel, ctx: WorkflowContext[parcel]) -> None:
            ctx.send_message(message)

    class Deliver(Executor):
        @handler
        async def deliver(self, message: parcel, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"delivered {message.label}")

    class Book(Executor):
        @handler
        async def book(self, parcels: list[parcel], ctx: WorkflowContext[Never, str]) -> None:
            booked = " and ".join(f"{each.label} of {weight(each)} kg" for each in parcels)
            await ctx.yield_output(f"booked {booked} from {', '.join(ctx.source_executor_ids)}")

    return (
        builder("post", Dispatch("dispatch"), era, storage)
        .add_edge("dispatch", Deliver("deliver"))
        .add_edge("dispatch", Weigh("weigh"))
        .add_fan_in_edges(["dispatch", "weigh"], Book("book"))
        .build(id=id)
    )


def clerk(storage: Any, era: Era, *, id: str = "clerk") -> Any:  # noqa: A002
    """Asks twice for leave, once with a deadline."""
    parcel, leave = era.parcel, era.leave

    class Clerk(Executor):
        @handler
        async def ask(self, message: parcel, ctx: WorkflowContext) -> None:
            ctx.request_info(message, leave, request_id="urgent", timeout=1000)
            ctx.request_info(message, list[leave], request_id="any time")

        @response_handler
        async def one(self, request: parcel, answer: leave, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"{request.label}: {answer.granted}")

        @response_handler
        async def many(self, request: parcel, answers: list[leave], ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"{request.label}: {[answer.granted for answer in answers]}")

        @response_handler
        async def none(self, request: parcel, late: RequestTimeout, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"{request.label}: nothing within {late.timeout:g} s")

    return builder("clerk", Clerk("clerk"), era, storage).build(id=id)


def offices(storage: Any, era: Era, *, id: str = "offices") -> Any:  # noqa: A002
    """Two levels down somebody asks, for slow parcels after 500 s; beside that a child that keeps its state counts."""
    parcel, leave = era.parcel, era.leave

    class Spread(Executor):
        @handler
        async def spread(self, messages: list[parcel], ctx: WorkflowContext[parcel]) -> None:
            for message in messages:
                ctx.send_message(message)

    class Begin(Executor):
        @handler
        async def begin(self, message: parcel, ctx: WorkflowContext[parcel]) -> None:
            ctx.set_state("parcel", message)
            ctx.send_message(message, delay=500 if message.label == "slow" else None)

    class Inner(Executor):
        state: list[parcel]

        @handler
        async def ask(self, message: parcel, ctx: WorkflowContext) -> None:
            self.state.append(message)
            ctx.request_info(message, leave, request_id=message.label)

        @response_handler
        async def one(self, request: parcel, answer: leave, ctx: WorkflowContext[Never, str]) -> None:
            kept = ctx.get_state("parcel")
            await ctx.yield_output(f"{self.state[0].label} of {weight(kept)} kg: {answer.granted}")

    class Count(Executor):
        state: list[parcel]

        @handler
        async def count(self, message: parcel, ctx: WorkflowContext[Never, str]) -> None:
            self.state.append(message)
            await ctx.yield_output(f"{len(self.state)} counted")

    class Tell(Executor):
        @handler
        async def tell(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(text)

    inner = builder("inner", lambda: Begin("begin"), era).add_edge("begin", lambda: Inner("ask"))
    middle = builder("middle", lambda: WorkflowExecutor(inner.build, "desk", allow_direct_output=True), era)
    counting = builder("counting", Count("count"), era).build()
    return (
        builder("offices", Spread("spread"), era, storage)
        .add_fan_out_edges("spread", [WorkflowExecutor(middle.build, "office"), WorkflowExecutor(counting, "books")])
        .add_edge("office", Tell("tell"))
        .add_edge("books", "tell")
        .build(id=id)
    )


def carrier(storage: Any, era: Era, policy: SupervisionPolicy | None, act: Act = nothing, *, id: str) -> Any:  # noqa: A002
    """Carries each parcel of a load, and once more the first; what becomes of each is decided by `act`."""
    parcel = era.parcel

    class Load(Executor):
        @handler
        async def load(self, messages: list[parcel], ctx: WorkflowContext[parcel]) -> None:
            for message in messages:
                ctx.send_message(message)

    class Carry(Executor):
        state: list[parcel]

        @handler
        async def carry(self, message: parcel, ctx: WorkflowContext[list[parcel], str]) -> None:
            await act(ctx)
            self.state.append(message)
            ctx.set_state("carried", (ctx.get_state("carried") or 0) + 1)
            await ctx.yield_output(f"{message.label}, attempt {ctx.attempt}")
            if len(self.state) == 1:
                ctx.send_message([message])

    return (
        builder("carrier", Load("load"), era, storage)
        .add_edge("load", Carry("carry", policy=policy))
        .add_edge("carry", "load")
        .build(id=id)
    )


TRIES = SupervisionPolicy(retry=Retry(attempts=4, delay=50, factor=1))
RESTARTS = SupervisionPolicy(on_failure="restart", restarts=RestartIntensity(max_restarts=3, period=1000))

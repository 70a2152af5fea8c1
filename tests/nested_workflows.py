"""Workflows inside executors, for the tests of them: children, and parents around them."""

# ruff: noqa: A002  # id is the word that executors and workflows use

from __future__ import annotations

from typing import Any, Never

import attrs

from actorflow import Executor, SubWorkflowRequest, WorkflowBuilder, WorkflowExecutor, handler, response_handler
from actorflow import WorkflowContext as Context

# Children.


@attrs.frozen
class Question:
    text: str


@attrs.define
class Seen:
    values: list[Any] = attrs.Factory(list)


class Countdown(Executor):
    """Yields a number and sends itself the next: one superstep each, down to 0."""

    @handler
    async def count(self, number: int, ctx: Context[int, int]) -> None:
        if number == ctx.config.get("fail_at"):
            raise ArithmeticError(f"told to fail at {number}")
        ctx.set_state("last", number)
        await ctx.yield_output(number)
        if number:
            ctx.send_message(number - 1)


def counting(**more):
    return WorkflowBuilder(name="counting", start_executor=lambda: Countdown("count"), **more).add_edge(
        "count", "count"
    )


class Asker(Executor):
    """Asks one question for each word, and yields each answer."""

    @handler
    async def ask(self, text: str, ctx: Context) -> None:
        for word in text.split():
            ctx.request_info(Question(word), str)

    @response_handler
    async def answered(self, question: Question, answer: str, ctx: Context[Never, str]) -> None:
        await ctx.yield_output(f"{question.text}:{answer}")


def asking(**more):
    return WorkflowBuilder(name="asking", start_executor=lambda: Asker("ask"), **more)


class Remember(Executor):
    """Keeps what it saw in its typed state and in the shared state."""

    state: Seen

    @handler
    async def take(self, value: int, ctx: Context[Never, list[int]]) -> None:
        self.state.values.append(value)
        ctx.set_state("seen", [*ctx.get_state("seen", []), value])
        if value < 0:
            raise ArithmeticError("told to fail")
        await ctx.yield_output([*self.state.values, *ctx.get_state("seen", [])])


def remembering(**more):
    return WorkflowBuilder(name="remembering", start_executor=lambda: Remember("remember"), **more)


# Parents.


class Spread(Executor):
    """Sends each member of a list on."""

    @handler
    async def spread(self, values: list[Any], ctx: Context[Any]) -> None:
        for value in values:
            ctx.send_message(value)


class Collect(Executor):
    @handler
    async def collect(self, value: Any, ctx: Context[Never, Any]) -> None:
        await ctx.yield_output(value)


def around(held, *, id="sub", parent=None, **how):
    """A parent that spreads a list over a child and yields what comes out of it."""
    one = how.pop("one", False)
    return (
        WorkflowBuilder(name="parent", start_executor=lambda: Spread("spread"), **(parent or {}))
        .add_edge("spread", lambda: WorkflowExecutor(held() if one else held, id, **how))
        .add_edge(id, lambda: Collect("collect"))
    )


def nested(depth, held=None, **how):
    """The asking workflow, `depth` levels down."""
    held = held or asking()
    for number in reversed(range(depth)):
        held = WorkflowBuilder(
            name=f"level {number}",
            start_executor=lambda held=held, number=number: WorkflowExecutor(held.build, f"l{number}", **how),
        ).add_edge(f"l{number}", lambda: Collect("collect"))
    return held


class Manager(Executor):
    """Gives inputs to the child, answers what it asks, and yields what it yields."""

    state: Seen

    @handler
    async def begin(self, text: str, ctx: Context[Any, str]) -> None:
        if ":" in text:
            await ctx.yield_output(text)
        else:
            ctx.send_message(text, "sub")

    @handler
    async def answer(self, request: SubWorkflowRequest, ctx: Context[Any, str]) -> None:
        self.state.values.append(request.data)
        answer = next(ctx.config["answers"]) if "answers" in ctx.config else ctx.config.get("answer", "yes")
        for _ in range(ctx.config.get("times", 1)):
            ctx.send_message(request.respond(answer), request.executor_id)


def managed(held=None, **more):
    held = held or asking()
    return (
        WorkflowBuilder(name="managed", start_executor=lambda: Manager("manager"), **more)
        .add_edge("manager", lambda: WorkflowExecutor(held.build, "sub", propagate_requests=False))
        .add_edge("sub", "manager")
    )


class Work(Executor):
    @handler
    async def work(self, value: int, ctx: Context[int]) -> None:
        ctx.send_message(100 + value)


class Total(Executor):
    @handler
    async def total(self, values: list[int], ctx: Context[Never, list[int]]) -> None:
        await ctx.yield_output(values)


def joined(wait, held):
    return (
        WorkflowBuilder(name="joined", start_executor=lambda: Spread("spread"))
        .add_fan_out_edges("spread", [lambda: Work("work"), lambda: WorkflowExecutor(held, "sub")])
        .add_fan_in_edges(["sub", "work"], lambda: Total("total"), wait=wait)
    )

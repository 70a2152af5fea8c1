"""Workflows that only a sweep of crashes needs: with timers that race, deadlines, supervision, and workflows inside."""

# ruff: noqa: A002  # id is the word that executors and workflows use

import warnings
from typing import Never

import trio

from actorflow import (
    Executor,
    ExecutorFailure,
    RequestTimeout,
    RestartIntensity,
    Retry,
    SupervisionPolicy,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    response_handler,
)
from actorflow.graph.validation import SelfLoopWarning
from tests import nested_workflows
from tests.scenarios import Many, Note, concatenated


class Hurry(Executor):
    """Sends timers of which those of different supersteps are due at one instant, and one that is due now."""

    @handler
    async def begin(self, text: str, ctx: WorkflowContext[str]) -> None:
        for delay in (0, 1, 1):
            ctx.send_message(f"{text}{delay}", delay=delay)


class Again(Executor):
    """Sends each text on at once, and once more a second later: that one meets a timer of an earlier superstep."""

    @handler
    async def again(self, text: str, ctx: WorkflowContext[str]) -> None:
        await trio.lowlevel.checkpoint()
        ctx.send_message(text)
        ctx.send_message(f"{text}'", delay=1)


def racing():
    """Timers that race with each other and with supersteps; in which order they fire shows in a log."""
    return (
        WorkflowBuilder(name="racing", start_executor=lambda: Hurry("hurry"), reducers={"log": concatenated})
        .add_edge("hurry", lambda: Again("again"))
        .add_edge("again", lambda: Note("note"))
        .build(id="w")
    )


class Patient(Executor):
    """Asks with deadlines, of which one passes during the run and one is open at its end, and waits with a timer."""

    @handler
    async def ask(self, text: str, ctx: WorkflowContext[str]) -> None:
        ctx.request_info(f"{text} soon", str, timeout=5)
        ctx.request_info(f"{text} late", str, timeout=500)
        ctx.send_message(text, delay=9)

    @response_handler
    async def answered(self, request: str, answer: str | RequestTimeout, ctx: WorkflowContext[str]) -> None:
        ctx.send_message(f"{request}: {'nobody answered' if isinstance(answer, RequestTimeout) else answer}")


def patient():
    return (
        WorkflowBuilder(name="patient", start_executor=lambda: Patient("ask"), reducers={"log": concatenated})
        .add_edge("ask", lambda: Note("note"))
        .build(id="w")
    )


class Tries(Executor):
    """Succeeds at its third attempt."""

    @handler
    async def take(self, number: int, ctx: WorkflowContext[str]) -> None:
        if ctx.attempt < 3:
            raise RuntimeError(f"told to fail at attempt {ctx.attempt}")
        ctx.send_message(f"{self.id} {number}")


class Fails(Executor):
    """Never succeeds with an odd number."""

    @handler
    async def take(self, number: int, ctx: WorkflowContext[str | ExecutorFailure]) -> None:
        if number % 2:
            raise RuntimeError("told to fail")
        ctx.send_message(f"{self.id} {number}")


class OnceBroken(Executor):
    """Broken until it is restarted, in every process."""

    def __init__(self, id: str, **options: object) -> None:
        super().__init__(id, **options)
        self.is_broken = True

    @handler
    async def take(self, number: int, ctx: WorkflowContext[str]) -> None:
        was_broken, self.is_broken = self.is_broken, False
        if was_broken:
            raise RuntimeError("told to fail")
        ctx.send_message(f"{self.id} {number}")


class Log(Executor):
    @handler
    async def text(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        ctx.set_state("log", [text])
        await ctx.yield_output(text)

    @handler
    async def failure(self, failure: ExecutorFailure, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(f"{failure.executor_id} failed: {failure.message}, {failure.attempts} attempts")


def supervised():
    """Numbers that are tried again, dropped, sent as failures, and restarted for."""
    often = RestartIntensity(9, 1000)
    return (
        WorkflowBuilder(name="supervised", start_executor=lambda: Many("many"), reducers={"log": concatenated})
        .add_fan_out_edges(
            "many",
            [
                lambda: Tries("retry", policy=SupervisionPolicy(retry=Retry(3, delay=1))),
                lambda: Fails("drop", policy=SupervisionPolicy(retry=Retry(2), on_failure="drop")),
                lambda: Fails("send", policy=SupervisionPolicy(on_failure="send")),
                lambda: OnceBroken("restart", policy=SupervisionPolicy(on_failure="restart", restarts=often)),
            ],
        )
        .add_edge("retry", lambda: Log("log"))
        .add_edge("drop", "log")
        .add_edge("send", "log")
        .add_edge("restart", "log")
        .build(id="w")
    )


def managed():
    """A parent that answers what the workflow inside asks."""
    return nested_workflows.managed().build(id="w")


def deep():
    """A workflow that asks, two levels down."""
    return nested_workflows.nested(2).build(id="w")


def counting():
    """Three runs of a workflow inside, with supersteps of their own, two at a time, and a join beside them."""

    def held():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SelfLoopWarning)
            return nested_workflows.counting().build()

    return nested_workflows.joined("active", held).build(id="w")

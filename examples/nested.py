"""A workflow inside another: every claim gets a review of its own, two at a time; one of them asks a person.

Prints:

    asked by review/decide: pay 900?
    review of 80: paid
    review of 30: paid
    review of 900: refused
"""

from typing import Never

import trio

from actorflow import Executor, Workflow, WorkflowBuilder, WorkflowContext, WorkflowExecutor, handler, response_handler
from actorflow.events import OutputEvent, RequestInfoEvent


class Check(Executor):
    @handler
    async def check(self, amount: int, ctx: WorkflowContext[int]) -> None:
        ctx.set_state("amount", amount)
        ctx.send_message(amount)


class Decide(Executor):
    @handler
    async def decide(self, amount: int, ctx: WorkflowContext[Never, str]) -> None:
        if amount < 100:
            await ctx.yield_output(f"{amount}: paid")
        else:
            ctx.request_info(f"pay {amount}?", bool)

    @response_handler
    async def decided(self, question: str, yes: bool, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(f"{ctx.get_state('amount')}: {'paid' if yes else 'refused'}")


class Split(Executor):
    @handler
    async def split(self, amounts: list[int], ctx: WorkflowContext[int]) -> None:
        for amount in amounts:
            ctx.send_message(amount)


class Tell(Executor):
    @handler
    async def tell(self, verdict: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(f"review of {verdict}")


review = WorkflowBuilder(name="review", start_executor=lambda: Check("check")).add_edge(
    "check", lambda: Decide("decide")
)


def make_workflow() -> Workflow:
    return (
        WorkflowBuilder(name="claims", start_executor=Split("split"))
        .add_edge("split", WorkflowExecutor(review.build, "review", concurrency=2))
        .add_edge("review", Tell("tell"))
        .build(id="claims")
    )


async def main() -> None:
    async with make_workflow().stream([80, 900, 30], wait_for_responses=True) as run:
        async for event in run.events:
            match event:
                case RequestInfoEvent(request_id=request_id, data=question):
                    print(f"asked by {'/'.join((*event.path, event.executor_id))}: {question}")
                    await run.respond(request_id, False)
                case OutputEvent(path=(), data=text):
                    print(text)


if __name__ == "__main__":
    trio.run(main)

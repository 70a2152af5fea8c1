"""A person in the loop: the run asks, waits for the answer, and goes on. The "person" here approves small payments.

Prints:

    asked: pay 120 to Ada?
    asked: pay 9000 to Bob?
    done: ['paid 120 to Ada', 'refused 9000 to Bob']
"""

from typing import Never

import attrs
import trio

from actorflow import Executor, Workflow, WorkflowBuilder, WorkflowContext, handler, response_handler
from actorflow.events import RequestInfoEvent


@attrs.frozen
class Payment:
    amount: int
    to: str


class Cashier(Executor):
    @handler
    async def ask(self, payments: list[Payment], ctx: WorkflowContext) -> None:
        for payment in payments:
            ctx.request_info(payment, bool)

    @response_handler
    async def decide(self, payment: Payment, approved: bool, ctx: WorkflowContext[Never, str]) -> None:
        verb = "paid" if approved else "refused"
        await ctx.yield_output(f"{verb} {payment.amount} to {payment.to}")


def make_workflow() -> Workflow:
    return WorkflowBuilder(name="payments", start_executor=Cashier("cashier")).build(id="payments-1")


async def main() -> None:
    payments = [Payment(120, "Ada"), Payment(9000, "Bob")]
    async with make_workflow().stream(payments, wait_for_responses=True) as run:
        async for event in run.events:
            match event:
                case RequestInfoEvent(request_id=request_id, data=Payment() as payment):
                    print(f"asked: pay {payment.amount} to {payment.to}?")
                    await run.respond(request_id, payment.amount < 1000)
        result = await run.wait()
    print("done:", result.outputs)


if __name__ == "__main__":
    trio.run(main)

"""Durable timers and a deadline: an invoice is sent, reminded of, and written off, over three processes and a virtual month.

Prints:

    day 0: invoice over 90
    the process ends; a timer for 'clerk' waits
    day 7: please pay 90
    day 7: IDLE_WITH_PENDING_REQUESTS
    day 30: nobody paid 90
    day 30: IDLE
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import trio
import trio.testing

from actorflow import (
    LATEST,
    Executor,
    InMemoryCheckpointStorage,
    RequestTimeout,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    response_handler,
)

DAY = 86400.0
STORAGE = InMemoryCheckpointStorage()


def today() -> str:
    return f"day {trio.current_time() / DAY:g}"


class Office(Executor):
    @handler
    async def begin(self, amount: int, ctx: WorkflowContext[str]) -> None:
        print(f"{today()}: invoice over {amount}")
        ctx.request_info(amount, bool, timeout=timedelta(days=30))
        ctx.send_message(f"please pay {amount}", delay=timedelta(days=7))

    @response_handler
    async def settle(self, amount: int, paid: bool | RequestTimeout, ctx: WorkflowContext) -> None:
        print(f"{today()}: nobody paid {amount}" if isinstance(paid, RequestTimeout) else f"{today()}: paid {amount}")


class Clerk(Executor):
    @handler
    async def remind(self, text: str, ctx: WorkflowContext) -> None:
        print(f"{today()}: {text}")


def office() -> Workflow:
    builder = WorkflowBuilder(name="invoices", start_executor=Office("office"), checkpoint_storage=STORAGE)
    return builder.add_edge("office", Clerk("clerk")).build(id="invoice 17")


async def first() -> None:
    workflow = office()
    with trio.move_on_after(DAY):
        await workflow.run(90)
    (timer,) = workflow.explain().timers
    print(f"the process ends; a timer for {timer.target_id!r} waits")


async def later(day: int) -> None:
    await trio.sleep(day * DAY)
    result = await office().run(checkpoint_id=LATEST)
    print(f"{today()}: {result.status.value}")


def process(main: Callable[..., Awaitable[None]], *args: int) -> None:
    """Each process has a clock of its own, and nothing but the storage to remember by."""
    trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))


if __name__ == "__main__":
    process(first)
    process(later, 5)
    process(later, 30)

"""Testing a workflow: an hour of waiting passes in an instant, under many schedules, and a cancellation leaves nothing.

These are plain pytest tests; run as a program it plays them all.

Prints:

    test_the_reminder_comes_after_an_hour
    test_every_schedule_gives_the_same_history
    test_a_cancellation_leaves_nothing_behind
"""

import time
from typing import Never

import trio

from actorflow import Executor, Workflow, WorkflowBuilder, WorkflowContext, handler
from actorflow.testing import cancel_everywhere, run_seeded, scheduling_seeds


class Clock(Executor):
    @handler
    async def wait(self, hours: int, ctx: WorkflowContext[str]) -> None:
        await trio.sleep(hours * 3600)
        ctx.send_message(f"{hours} h over")


class Bell(Executor):
    @handler
    async def ring(self, text: str, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(f"{self.id}: {text}")


def make_workflow() -> Workflow:
    builder = WorkflowBuilder(name="reminder", start_executor=Clock("clock"))
    return builder.add_fan_out_edges("clock", [Bell("left"), Bell("right")]).build(id="reminder-1")


async def scenario() -> list[str]:
    result = await make_workflow().run(1)
    return list(result.outputs)


def test_the_reminder_comes_after_an_hour() -> None:
    began = time.monotonic()

    assert run_seeded(scenario, seed=0) == ["left: 1 h over", "right: 1 h over"]
    assert time.monotonic() - began < 60


def test_every_schedule_gives_the_same_history() -> None:
    outputs = [run_seeded(scenario, seed) for seed in scheduling_seeds()]

    assert all(each == outputs[0] for each in outputs)


def test_a_cancellation_leaves_nothing_behind() -> None:
    async def run_once(workflow: Workflow) -> None:
        await workflow.run(1)

    cancel_everywhere(run_once, setup=make_workflow, check=run_once)  # after each cancellation it runs again


if __name__ == "__main__":
    for test in (
        test_the_reminder_comes_after_an_hour,
        test_every_schedule_gives_the_same_history,
        test_a_cancellation_leaves_nothing_behind,
    ):
        test()
        print(test.__name__)

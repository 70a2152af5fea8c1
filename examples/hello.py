"""Two executors and an edge: a message goes along, an output comes out.

Prints:

    ['ABOUT TRIO']
    0 started
    0 status
    1 superstep_started
    1 executor_invoked
    1 executor_completed
    1 superstep_completed
    2 superstep_started
    2 executor_invoked
    2 output
    2 executor_completed
    2 superstep_completed
    2 status
"""

from typing import Never

import attrs
import trio

from actorflow import Executor, Workflow, WorkflowBuilder, WorkflowContext, handler


@attrs.frozen
class Draft:
    text: str


class Writer(Executor):
    @handler
    async def write(self, topic: str, ctx: WorkflowContext[Draft]) -> None:
        ctx.send_message(Draft(f"About {topic}"))


class Editor(Executor):
    @handler
    async def edit(self, draft: Draft, ctx: WorkflowContext[Never, str]) -> None:
        await ctx.yield_output(draft.text.upper())


def make_workflow() -> Workflow:
    builder = WorkflowBuilder(name="article", start_executor=Writer(id="writer"))
    return builder.add_edge("writer", Editor(id="editor")).build(id="article-1")


async def main() -> None:
    workflow = make_workflow()
    result = await workflow.run("trio")  # to idle
    print(result.outputs)
    async with workflow.stream("trio") as run:  # as it happens
        async for event in run.events:
            print(event.superstep, event.type)


if __name__ == "__main__":
    trio.run(main)

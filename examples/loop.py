"""A loop with conditions: a guess goes round between two executors until it is good enough.

Prints:

    50 is too low
    75 is too high
    62 is too low
    found 68 in 8 supersteps
"""

from typing import Never

import attrs
import trio

from actorflow import Executor, Workflow, WorkflowBuilder, WorkflowContext, handler

SECRET = 68


@attrs.frozen
class Range:
    low: int
    high: int


@attrs.frozen
class Guess:
    value: int
    within: Range


class Guesser(Executor):
    @handler
    async def guess(self, within: Range, ctx: WorkflowContext[Guess]) -> None:
        ctx.send_message(Guess((within.low + within.high) // 2, within))


class Judge(Executor):
    @handler
    async def judge(self, guess: Guess, ctx: WorkflowContext[Range]) -> None:
        if guess.value < SECRET:
            print(guess.value, "is too low")
            ctx.send_message(Range(guess.value + 1, guess.within.high))
        else:
            print(guess.value, "is too high")
            ctx.send_message(Range(guess.within.low, guess.value - 1))


class Winner(Executor):
    @handler
    async def win(self, guess: Guess, ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(guess.value)


def is_right(guess: Guess) -> bool:
    return guess.value == SECRET


def is_wrong(guess: Guess) -> bool:
    return not is_right(guess)


def make_workflow() -> Workflow:
    return (
        WorkflowBuilder(name="guess a number", start_executor=Guesser("guesser"), max_supersteps=50)
        .add_edge("guesser", Judge("judge"), condition=is_wrong)
        .add_edge("guesser", Winner("winner"), condition=is_right)
        .add_edge("judge", "guesser")
        .build(id="guess-1")
    )


async def main() -> None:
    result = await make_workflow().run(Range(1, 100))
    print(f"found {result.outputs[0]} in {result.supersteps} supersteps")


if __name__ == "__main__":
    trio.run(main)

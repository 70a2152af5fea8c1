"""Handover: one value for one waiting task. Proves that no value is lost or given twice, cancelled takers included."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actorflow.runtime.handover import Handover


async def test_a_value_given_before_anybody_waits_is_kept():
    place = Handover[int]()
    place.give(1)
    assert await place.take() == 1


async def test_a_waiting_task_is_woken_with_the_value():
    place, taken = Handover[int | None](), []

    async def taker():
        while (value := await place.take()) is not None:
            taken.append(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker)
        for value in (1, 2, None):
            await trio.testing.wait_all_tasks_blocked()
            place.give(value)
    assert taken == [1, 2]


async def test_a_cancelled_taker_leaves_the_next_value_to_the_next_taker():
    place = Handover[int]()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.take)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    place.give(1)
    assert await place.take() == 1


async def test_a_value_that_was_given_reaches_a_taker_that_is_cancelled_afterwards():
    place, taken = Handover[int](), []

    async def taker():
        taken.append(await place.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker)
        await trio.testing.wait_all_tasks_blocked()
        place.give(1)
        nursery.cancel_scope.cancel()
    assert taken == [1]


async def test_taking_a_kept_value_is_a_checkpoint_and_loses_nothing_when_cancelled():
    place = Handover[int]()
    place.give(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await place.take()
    assert scope.cancelled_caught
    with trio.testing.assert_checkpoints():
        assert await place.take() == 1


async def test_a_value_is_taken_once():
    place = Handover[int]()
    place.give(1)
    assert await place.take() == 1
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0):
            await place.take()

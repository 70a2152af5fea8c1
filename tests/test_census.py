"""The census finds what outlives its work, by name, and nothing else (R25; virtual time throughout, R04)."""

import gc
import threading

import pytest
import trio

from actorflow.testing import Census, census, empty_house, run_seeded


async def test_a_tidy_block_leaves_an_empty_house(autojump_clock):
    limiter = trio.CapacityLimiter(1)
    async with empty_house(), trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[int](1)
        with send, receive:
            nursery.start_soon(trio.sleep, 60)
            async with limiter:
                await send.send(await receive_after(send, receive))


async def receive_after(send, receive):
    send.send_nowait(1)
    return await receive.receive()


async def test_an_unclosed_channel_is_found_with_its_statistics():
    kept = []

    def open_and_fill() -> None:
        with empty_house():
            kept.extend(trio.open_memory_channel[int](3))
            kept[0].send_nowait(1)

    with pytest.raises(AssertionError) as caught:
        open_and_fill()

    text = str(caught.value)
    assert "open send channel (1 of 3 buffered" in text
    assert "open receive channel" in text
    for end in kept:
        end.close()


async def test_a_channel_closed_at_one_end_only_is_found_by_its_other_end():
    kept = []

    def close_one_end() -> None:
        with empty_house():
            kept.extend(trio.open_memory_channel[int](1))
            kept[0].close()

    with pytest.raises(AssertionError) as caught:
        close_one_end()

    assert "open receive channel" in str(caught.value)
    assert "open send channel" not in str(caught.value)
    kept[1].close()


async def test_a_leaked_limiter_token_is_found_with_its_borrower():
    limiter, token = trio.CapacityLimiter(1), "run-17"
    with pytest.raises(AssertionError, match=r"held by run-17 \(1/1 borrowed\)"), empty_house():
        limiter.acquire_on_behalf_of_nowait(token)
    limiter.release_on_behalf_of(token)


async def test_a_token_taken_by_a_task_names_the_task():
    limiter = trio.CapacityLimiter(2)
    with pytest.raises(AssertionError, match=r"held by task .*test_a_token_taken_by_a_task"), empty_house():
        await limiter.acquire()
    limiter.release()


async def test_a_second_token_of_a_limiter_that_was_busy_before_is_found():
    limiter = trio.CapacityLimiter(2)
    limiter.acquire_on_behalf_of_nowait("before")
    with pytest.raises(AssertionError) as caught, empty_house():
        limiter.acquire_on_behalf_of_nowait("within")
    assert "within" in str(caught.value)
    assert "before" not in str(caught.value)


async def test_borrowers_that_claim_to_be_equal_are_told_apart():
    class Twin:
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

        def __repr__(self):
            return "twin"

    first, second = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
    first.acquire_on_behalf_of_nowait(Twin())
    with pytest.raises(AssertionError, match="twin"), empty_house():
        second.acquire_on_behalf_of_nowait(Twin())


async def test_a_task_that_lives_on_is_found_by_name():
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match="task 'actor:writer'"), empty_house():
            nursery.start_soon(trio.sleep_forever, name="actor:writer")
        nursery.cancel_scope.cancel()


async def test_a_task_below_a_task_is_found_too():
    async def parent():
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever, name="grandchild")

    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match="grandchild"):
            async with empty_house():
                nursery.start_soon(parent)
        nursery.cancel_scope.cancel()


async def test_the_async_form_lets_a_task_that_is_on_its_way_out_leave(autojump_clock):
    async def winding_down():
        for _ in range(5):
            await trio.lowlevel.cancel_shielded_checkpoint()

    async with trio.open_nursery() as nursery:
        async with empty_house():
            nursery.start_soon(winding_down)
        with pytest.raises(AssertionError, match="winding_down"), empty_house():
            nursery.start_soon(winding_down)


async def test_a_busy_worker_thread_is_counted():
    release = threading.Event()
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match="1 busy worker thread"):
            async with empty_house():
                nursery.start_soon(trio.to_thread.run_sync, release.wait)
        release.set()


async def test_a_thread_abandoned_by_its_task_is_counted_until_it_ends():
    release, ended = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def work():
        release.wait()
        token.run_sync_soon(ended.set)

    async with empty_house():
        with trio.move_on_after(0.001):
            await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        assert census().threads == 1
        limiters = [token.limiter for token in census().limiter_tokens]
        assert trio.to_thread.current_default_thread_limiter() not in limiters  # it is the thread counted above
        release.set()
        await ended.wait()
        while census().threads:
            await trio.lowlevel.checkpoint()


async def test_what_was_there_before_is_nobodys_leak():
    send, receive = trio.open_memory_channel[int](1)
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("owner")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        with empty_house():
            send.send_nowait(1)
        nursery.cancel_scope.cancel()
    send.close()
    receive.close()


async def test_a_failing_block_keeps_its_exception_and_gets_a_note():
    kept = []

    def leak_and_fail() -> None:
        with empty_house():
            kept.extend(trio.open_memory_channel[int](1))
            raise KeyError

    with pytest.raises(KeyError) as caught:
        leak_and_fail()
    assert "left behind" in caught.value.__notes__[0]
    assert "open send channel" in caught.value.__notes__[0]
    for end in kept:
        end.close()


async def test_cancelling_the_block_passes_through():
    with trio.CancelScope() as scope:
        async with empty_house():
            scope.cancel(reason="test")
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_garbage_in_a_reference_cycle_is_no_leak_whether_or_not_the_collector_came_by():
    gc.disable()
    try:
        with empty_house():
            cycle = [*trio.open_memory_channel[int](1)]
            cycle.append(cycle)
            del cycle
    finally:
        gc.enable()


def test_a_fresh_run_has_no_tasks_and_no_threads():
    async def count() -> tuple[tuple[trio.lowlevel.Task, ...], int]:
        now = census()
        return now.tasks, now.threads

    assert run_seeded(count, 0) == ((), 0)


def test_neither_the_caller_nor_its_ancestors_are_counted_but_its_siblings_are():
    async def main() -> list[str]:
        names: list[str] = []

        async def look() -> None:
            names.extend(task.name for task in census().tasks)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever, name="sibling")
            nursery.start_soon(look)
        return names

    assert run_seeded(main, 0) == ["sibling"]


async def test_a_proxy_that_lies_about_its_class_is_not_touched():
    class Liar:
        @property
        def __class__(self):
            raise LookupError("do not ask")

    liar = Liar()
    with empty_house():
        census()
    assert type(liar) is Liar


def test_an_empty_census_says_so():
    assert Census().empty
    assert str(Census()) == "nothing"
    assert Census(threads=2).entries == ("2 busy worker thread(s)",)


def test_outside_a_trio_run_there_is_nothing_to_count():
    with pytest.raises(RuntimeError):
        census()

"""The canary: what the test kit needs of trio's private parts is there and does what it did (R23).

When a new trio fails here, only ``actorflow/testing/trio_internals.py`` needs a look; the product uses none of it.
"""

import random

import pytest
import trio
import trio.testing
from trio._core import _run

from actorflow.testing import trio_internals
from actorflow.testing.trio_internals import is_closed, seeded_scheduling


async def interleaving(tasks: int = 4, steps: int = 5) -> tuple[str, ...]:
    trace: list[str] = []

    async def walk(name: str) -> None:
        for step in range(steps):
            trace.append(f"{name}{step}")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for index in range(tasks):
            nursery.start_soon(walk, "abcdefgh"[index])
    return tuple(trace)


def traced(seed: int) -> tuple[str, ...]:
    with seeded_scheduling(seed):
        return trio.run(interleaving, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_private_names_exist_with_the_types_we_rely_on():
    assert isinstance(_run._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert isinstance(_run._r, random.Random)
    send, receive = trio.open_memory_channel[int](1)
    assert send._closed is False
    assert receive._closed is False
    send.close()
    receive.close()


def test_the_same_seed_gives_the_same_trace():
    assert len({traced(7) for _ in range(5)}) == 1


def test_different_seeds_give_different_traces():
    assert len({traced(seed) for seed in range(10)}) == 10


def test_without_the_flag_a_seed_decides_only_forwards_or_backwards():
    """Why the flag is needed at all; if this fails, trio shuffles by itself and the flag may be obsolete."""

    async def first_round() -> tuple[str, ...]:
        return (await interleaving(tasks=5, steps=1))[:5]

    was = _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._ALLOW_DETERMINISTIC_SCHEDULING = False
    try:
        assert len({trio.run(first_round) for _ in range(50)}) <= 2
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = was


@pytest.mark.parametrize("flag", [False, True])
def test_flag_and_random_state_are_put_back_even_after_a_failure(monkeypatch, flag):
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", flag)
    state = _run._r.getstate()

    def fail_within() -> None:
        with seeded_scheduling(3):
            assert _run._ALLOW_DETERMINISTIC_SCHEDULING is True
            assert _run._r.getstate() != state
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()

    assert _run._ALLOW_DETERMINISTIC_SCHEDULING is flag
    assert _run._r.getstate() == state


def test_a_vanished_flag_fails_loudly_instead_of_being_invented(monkeypatch):
    monkeypatch.setattr(trio_internals, "_FLAG", "_NO_SUCH_FLAG")
    with pytest.raises(AttributeError, match="_NO_SUCH_FLAG"), seeded_scheduling(1):
        pass
    assert not hasattr(_run, "_NO_SUCH_FLAG")


def test_each_end_of_a_channel_knows_whether_it_is_closed():
    send, receive = trio.open_memory_channel[int](1)
    assert (is_closed(send), is_closed(receive)) == (False, False)
    send.close()
    assert (is_closed(send), is_closed(receive)) == (True, False)
    receive.close()
    assert (is_closed(send), is_closed(receive)) == (True, True)


def test_the_main_task_is_alone_in_the_innermost_nursery_of_the_root():
    """Public names, but an order that trio does not promise; the census finds the tasks of a run by it."""

    async def main() -> None:
        root = trio.lowlevel.current_root_task()
        assert list(root.child_nurseries[-1].child_tasks) == [trio.lowlevel.current_task()]

    trio.run(main)

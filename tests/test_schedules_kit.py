"""Seeded runs replay anywhere, reach every order, report deadlocks, and leave trio as they found it (R04, R23)."""

import itertools
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio
from trio._core import _run

import actorflow
from actorflow.testing import run_seeded, scheduling_seeds

ROOT = Path(actorflow.__file__).parents[1]

TRACED = """
import trio
from actorflow.testing import run_seeded

async def scenario():
    trace, gate = [], trio.Event()
    async def work(name):
        await gate.wait()
        for step in range(4):
            trace.append(f"{name}{step}")
            await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        for name in "abcdef":
            nursery.start_soon(work, name)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    return " ".join(trace)

print(run_seeded(scenario, 11))
"""


def traced_in_a_process(hash_seed: str) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", TRACED], env=env, capture_output=True, text=True, check=True)
    return done.stdout


async def order_of_five() -> tuple[int, ...]:
    order: list[int] = []

    async def arrive(number: int) -> None:
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(arrive, number)
    return tuple(order)


async def boom() -> None:
    raise KeyError("boom")


def test_a_seed_replays_in_other_processes_whatever_their_hash_seed():
    traces = {traced_in_a_process(hash_seed) for hash_seed in ("1", "2", "3")}
    assert len(traces) == 1
    assert len(traces.pop().split()) == 24


def test_the_same_seed_gives_the_same_order_and_different_seeds_give_different_ones():
    assert len({run_seeded(order_of_five, 3) for _ in range(10)}) == 1
    assert len({run_seeded(order_of_five, seed) for seed in range(20)}) > 10


def test_enough_seeds_reach_all_120_orders_of_five_tasks():
    seen: set[tuple[int, ...]] = set()
    for seed in range(2000):
        seen.add(run_seeded(order_of_five, seed))
        if len(seen) == 120:
            break
    assert seen == set(itertools.permutations(range(5)))


def test_it_returns_what_the_function_returned():
    async def answer() -> int:
        await trio.lowlevel.checkpoint()
        return 42

    assert run_seeded(answer, 0) == 42


def test_an_hour_passes_at_once_on_the_virtual_clock():
    async def nap() -> float:
        await trio.sleep(3600)
        return trio.current_time()

    began = time.perf_counter()
    assert run_seeded(nap, 0) == 3600
    assert time.perf_counter() - began < 5


def test_a_deadlock_fails_and_says_which_task_waits_where():
    async def never() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.Event().wait, name="actor:writer")
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError, match="deadlock") as caught:
        run_seeded(never, 5)

    assert "actor:writer" in str(caught.value)
    assert "test_schedules_kit.py" in str(caught.value)
    assert "seed=5" in "".join(caught.value.__notes__)


def test_a_wait_longer_than_the_timeout_fails_and_a_shorter_one_does_not():
    assert run_seeded(partial(trio.sleep, 9), 0, timeout=10) is None
    with pytest.raises(trio.TooSlowError, match="10 virtual seconds"):
        run_seeded(partial(trio.sleep, 11), 0, timeout=10)


def test_a_deadlock_is_reported_whatever_the_function_makes_of_the_cancellation():
    async def answers() -> str:
        with trio.CancelScope(shield=True, deadline=2e6):
            await trio.sleep_forever()
        return "fine"

    async def complains() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("clean-up")

    for fn in (answers, complains):
        with pytest.raises(trio.TooSlowError, match="deadlock"):
            run_seeded(fn, 0)


def test_a_failure_comes_out_as_itself_with_a_note_that_names_the_seed():
    with pytest.raises(KeyError, match="boom") as caught:
        run_seeded(boom, 23)
    assert "run_seeded(fn, seed=23)" in caught.value.__notes__[0]
    assert "ACTORFLOW_SCHED_SEEDS='=23'" in caught.value.__notes__[0]


@pytest.mark.parametrize("fn", [order_of_five, boom])
def test_random_state_and_flag_are_as_before_on_every_way_out(fn):
    before = _run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING
    try:
        run_seeded(fn, 1)
    except KeyError:
        assert fn is boom
    assert (_run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


async def test_inside_a_trio_run_it_is_refused_and_says_what_to_do():
    with pytest.raises(RuntimeError, match="make the test a plain function"):
        run_seeded(order_of_five, 0)


def test_a_coroutine_instead_of_its_function_is_refused_without_a_second_warning():
    with pytest.raises(TypeError, match="without calling it"):
        run_seeded(order_of_five(), 0)


def test_a_plain_function_is_refused():
    with pytest.raises(TypeError, match="give an async function"):
        run_seeded(lambda: 3, 0)


def test_a_planted_dependence_on_order_is_found_by_some_seed():
    async def last_writer() -> str:
        state = {}

        async def write(value: str) -> None:
            await trio.lowlevel.checkpoint()
            state["key"] = value

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, "early")
            nursery.start_soon(write, "late")
        return state["key"]

    assert {run_seeded(last_writer, seed) for seed in range(20)} == {"early", "late"}


@pytest.mark.parametrize(
    ("wish", "n", "seeds"),
    [
        (None, None, tuple(range(8))),
        (None, 3, (0, 1, 2)),
        ("", 3, (0, 1, 2)),
        ("4", None, (0, 1, 2, 3)),
        ("2", 3, (0, 1)),
        ("=5", 3, (5,)),
        (" =0 ", 3, (0,)),
    ],
)
def test_the_environment_chooses_the_seeds(monkeypatch, wish, n, seeds):
    monkeypatch.delenv("ACTORFLOW_SCHED_SEEDS", raising=False)
    if wish is not None:
        monkeypatch.setenv("ACTORFLOW_SCHED_SEEDS", wish)
    assert scheduling_seeds(n) == seeds


def test_the_default_count_may_be_given(monkeypatch):
    monkeypatch.delenv("ACTORFLOW_SCHED_SEEDS", raising=False)
    assert scheduling_seeds(default=2) == (0, 1)


@pytest.mark.parametrize("wish", ["many", "=", "0", "-3", "=x"])
def test_a_wish_that_makes_no_sense_is_an_error_that_names_the_variable(monkeypatch, wish):
    monkeypatch.setenv("ACTORFLOW_SCHED_SEEDS", wish)
    with pytest.raises(ValueError, match="ACTORFLOW_SCHED_SEEDS"):
        scheduling_seeds()

"""R07, P6: two hundred times a real process is killed with SIGKILL, at random and at chosen instants, and the next goes on.

Handlers append the id of their delivery to a file. Nothing is lost, and nothing is doubled that the durability promises not
to double: after each kill only deliveries of the supersteps that were not stored yet come again.
"""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.kill_driver import WIDTH

ROOT = Path(__file__).parents[1]
ROUNDS = {"superstep": 80, "delivery": 60, "async": 40, "exit": 20}
TURNS = {"superstep": 500, "delivery": 400, "async": 350, "exit": 150}
MAY_REPEAT = {"superstep": 1, "delivery": 1, "async": 2, "exit": None}
"""How many of the last supersteps that had begun a kill may repeat."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")


def test_there_are_two_hundred_rounds():
    assert sum(ROUNDS.values()) == 200


@pytest.mark.parametrize("durability", ROUNDS)
def test_nothing_is_lost_and_nothing_doubled_that_must_not_be(durability, tmp_path):
    rounds, turns = ROUNDS[durability], TURNS[durability]
    command = [sys.executable, str(ROOT / "tests" / "kill_driver.py"), tmp_path, durability, rounds, turns, 7]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["kills"] == rounds
    assert told["chosen"] == rounds // 2
    assert_the_end_is_that_of_one_piece(json.loads((tmp_path / "end.json").read_text()), turns, durability)
    lives = lives_of((tmp_path / "effects").read_bytes(), told["marks"])
    assert len(Counter(each for life in lives for each in life)) == turns * (WIDTH + 1)
    assert_repeats_are_allowed(lives, durability)


def assert_the_end_is_that_of_one_piece(end, turns, durability):
    outputs, states, total, status, supersteps, line = end
    countdown = list(range(turns, 0, -1))
    assert outputs == countdown
    assert states == {f"work{number}": countdown for number in range(WIDTH)}
    assert total == WIDTH * sum(countdown)
    assert (status, supersteps) == ("IDLE", 1 + 2 * turns)
    assert all(follows for _, follows in line)
    if durability != "exit":
        assert [superstep for superstep, _ in line] == list(range(1 + 2 * turns, 0, -1))


def lives_of(effects, marks):
    """The deliveries that each process handled, as (id, superstep, executor)."""
    bounds = [0, *marks, len(effects)]
    return [
        [tuple(line.split()) for line in effects[begin:end].decode().splitlines()]
        for begin, end in itertools.pairwise(bounds)
    ]


def assert_repeats_are_allowed(lives, durability):
    seen, last = set(), 0
    for number, life in enumerate(lives):
        assert len(set(life)) == len(life), f"process {number} handled a delivery twice"
        again = seen & set(life)
        if MAY_REPEAT[durability] is not None:
            assert all(int(superstep) > last - MAY_REPEAT[durability] for _, superstep, _ in again), (number, again)
        if durability == "delivery":
            assert max(Counter(executor for *_, executor in again).values(), default=0) <= 1
        seen |= set(life)
        last = max([last, *(int(superstep) for _, superstep, _ in life)])

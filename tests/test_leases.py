"""What leases promise beyond the clauses every storage keeps (see test_storage_conformance).

The clock they go by is the one of the trio run under test, or the time of day; a clock that is set costs time, and never
lets a fenced holder write; and no sequence of calls, of all there are up to a length, gets past the fence.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time

import attrs
import pytest
import trio
import trio.testing

from actorflow import clock
from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.sqlite.storage import SqliteCheckpointStorage
from actorflow.clock import wall_time
from actorflow.errors import ActorflowError, CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry

STORAGES = {
    "memory": lambda folder, **more: InMemoryCheckpointStorage(**more),
    "sqlite": lambda folder, **more: SqliteCheckpointStorage(folder / "x.db", synchronous="normal", **more),
}


@pytest.fixture(params=STORAGES)
def new_storage(request, tmp_path):
    return lambda **more: STORAGES[request.param](tmp_path, **more)


# What is said


def test_the_errors_say_who_has_it_and_what_to_do():
    held = LeaseHeldError("w", owner="run-1", host="here (process 7)", age=12.25, expires_in=3.5)
    for words in ("'w'", "'run-1'", "here (process 7)", "12.2 s", "3.5 s", "wait=True", "another workflow id", "fork"):
        assert words in str(held)
    lost = LeaseLostError("w", "run-1", 4, holder="run-2", host="there (process 8)")
    for words in ("'w'", "'run-1'", "epoch 4", "'run-2'", "there (process 8)", "LATEST"):
        assert words in str(lost)
    assert "None" not in str(LeaseLostError("w", "run-1", 4))
    for error in (held, lost):
        assert isinstance(error, ActorflowError)
        assert isinstance(error, RuntimeError)
        assert not isinstance(error, CheckpointError)


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf])
def test_a_time_to_live_that_is_none_is_refused(new_storage, ttl):
    with pytest.raises(ValueError, match="lease_ttl"):
        new_storage(lease_ttl=ttl)


async def test_a_lease_says_how_long_it_lasts(new_storage):
    assert (await new_storage().acquire_lease("w", owner="a")).ttl == 30.0
    assert (await new_storage(lease_ttl=2).acquire_lease("v", owner="a")).ttl == 2.0


# The clock


def test_a_lease_goes_by_the_time_of_day():
    async def look():
        before = time.time()
        assert before <= wall_time() <= time.time()

    trio.run(look)


def test_under_a_virtual_clock_it_goes_by_that_one():
    async def look():
        start = wall_time()
        mock.jump(45)
        assert wall_time() - start == 45
        return start

    starts = set()
    for _ in range(2):
        mock = trio.testing.MockClock()
        starts.add(trio.run(look, clock=mock))
    assert len(starts) == 1


def test_trio_testing_is_not_imported_for_it():
    code = (
        "import sys, trio\n"
        "from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage as Storage\n"
        "async def main(): await Storage().acquire_lease('w', owner='a')\n"
        "trio.run(main)\n"
        "assert 'trio.testing' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})


@attrs.define
class SetClock:
    now: float = 1_000_000.0

    def time(self):
        return self.now


@pytest.fixture
def set_clock(monkeypatch):
    monkeypatch.setattr(clock, "time", SetClock())
    return clock.time


async def test_a_clock_set_forward_ends_a_lease_early_and_the_fence_holds(new_storage, set_clock):
    """R09: who was overtaken although its time had not come is fenced all the same."""
    storage = new_storage()
    first = await storage.acquire_lease("workflow", owner="first")
    set_clock.now += 3600
    second = await storage.acquire_lease("workflow", owner="second")
    set_clock.now -= 3600
    for lease in (first, second, first):
        if lease is second:
            await storage.save(make_commit("a", lease=second))
            continue
        with pytest.raises(LeaseLostError):
            await storage.save(make_commit("b", lease=first))
        with pytest.raises(LeaseLostError):
            await storage.renew_lease(first)


async def test_a_clock_set_back_a_little_ends_a_lease_late(new_storage, set_clock):
    """R09: by as much as it was set back, but never for more than twice its time to live."""
    storage = new_storage(lease_ttl=10)
    await storage.acquire_lease("workflow", owner="first")
    set_clock.now -= 8
    with pytest.raises(LeaseHeldError) as held:
        await storage.acquire_lease("workflow", owner="second")
    assert (held.value.expires_in, held.value.age) == (18, 0)
    set_clock.now += 18
    await storage.acquire_lease("workflow", owner="second")


async def test_a_clock_set_back_by_a_year_ends_a_lease_at_once_and_the_fence_holds(new_storage, set_clock):
    """R09: nobody waits a year for the clock to come round; the holder renews in time, or is overtaken and fenced."""
    storage = new_storage(lease_ttl=10)
    first = await storage.acquire_lease("workflow", owner="first")
    set_clock.now -= 365 * 86400
    await storage.renew_lease(first)
    with pytest.raises(LeaseHeldError):
        await storage.acquire_lease("workflow", owner="second")
    set_clock.now -= 365 * 86400
    second = await storage.acquire_lease("workflow", owner="second")
    with pytest.raises(LeaseLostError):
        await storage.save(make_commit("a", lease=first))
    await storage.save(make_commit("a", lease=second))


# Every sequence of calls up to a length


OWNERS = "AB"
VERBS = [
    *(("acquire", owner) for owner in OWNERS),
    *(("renew", owner) for owner in OWNERS),
    *(("release", owner) for owner in OWNERS),
    *(("save", owner) for owner in OWNERS),
    *(("note", owner) for owner in OWNERS),
    ("save", None),
    ("expire", None),
]
"""Each owner acts under the lease it was granted last, whatever has become of it since."""


@attrs.define
class Model:
    """Who may write, as plain values: the specification in small."""

    holder: str | None = None
    live: bool = False
    written: int = 0
    noted: int = 0

    def allows(self, verb, owner):
        if verb == "acquire":
            return self.holder in (None, owner) or not self.live
        if verb in ("release", "expire"):
            return True
        if owner is None:
            return self.holder is None or not self.live
        return self.holder == owner

    def step(self, verb, owner):
        if verb == "acquire":
            self.holder, self.live = owner, True
        elif verb == "renew":
            self.live = True
        elif verb == "expire":
            self.live = False
        elif verb == "release":
            self.holder = None if self.holder == owner else self.holder
        elif verb == "note":
            self.noted += 1
        else:
            self.written, self.noted = self.written + 1, 0
            self.holder = owner


async def play(sequence, mock):
    storage, model = InMemoryCheckpointStorage(), Model()
    leases, epochs = {}, [0]
    for number, (verb, owner) in enumerate(sequence):
        if owner is not None and verb != "acquire" and owner not in leases:
            return  # it has nothing to show; a shorter sequence says the same
        allowed = model.allows(verb, owner)
        try:
            if verb == "expire":
                mock.jump(30)
            else:
                await act(storage, verb, owner, leases, number)
        except (LeaseHeldError, LeaseLostError):
            assert not allowed, sequence[: number + 1]
        else:
            assert allowed, sequence[: number + 1]
            model.step(verb, owner)
        if verb == "acquire" and allowed:
            epochs.append(leases[owner].epoch)
        assert len(storage._records) == model.written, sequence[: number + 1]
        assert len(storage._journal._entries.get("workflow", ())) == model.noted, sequence[: number + 1]
    assert epochs == sorted(set(epochs))


async def act(storage, verb, owner, leases, number):
    lease = leases.get(owner)
    if verb == "acquire":
        leases[owner] = await storage.acquire_lease("workflow", owner=owner)
    elif verb == "renew":
        await storage.renew_lease(lease)
    elif verb == "release":
        await storage.release_lease(lease)
    elif verb == "save":
        await storage.save(make_commit(f"{number}", lease=lease))
    else:
        await storage.write_journal([make_entry(number)], lease=lease)


def test_no_sequence_of_calls_gets_past_the_fence():
    """R26, P7: two owners that keep what they were granted, a tool without a lease, and time: all there is, in any order.

    The two are alike, so that A acts first.
    """
    mock = trio.testing.MockClock()

    async def main():
        for sequence in itertools.product(VERBS, repeat=4):
            await play([("acquire", "A"), *sequence], mock)

    trio.run(main, clock=mock)

"""The entries of the corpus in which something is pending. All times are those of a virtual clock that begins with the entry."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import trio
import trio.testing

from actorflow import LATEST, EncryptedStorage
from actorflow.checkpoint.encryption import sealing
from tests.corpus.entries import Entry, asked_for
from tests.corpus.pending import RESTARTS, TRIES, Act, carrier, clerk, offices, post
from tests.corpus.workflows import FIRST, Era, depot

__all__ = ["PENDING"]


async def left_after(seconds: float, run: Any) -> None:
    """Let a run go on for so long, and cancel it."""
    with trio.move_on_after(seconds) as scope:
        await run
    assert scope.cancelled_caught


def acts(*script: Callable[[], Any] | None) -> Act:
    """What becomes of one call after the other: None goes on, anything else is called."""
    acting = iter(script)

    async def act(ctx: Any) -> None:
        what = next(acting)
        if what is not None:
            await what()

    return act


async def fails() -> None:
    raise OSError("the road is closed")


async def write_timers(storage: Any) -> None:
    """Three timers of which none is due, one of them a join's; and the same when one has fired, and the join is half full."""
    await left_after(10, post(storage, FIRST).run(FIRST.make("a", 2)))
    await left_after(40, post(storage, FIRST, id="later").run(FIRST.make("b", 3)))


async def resume_timers(storage: Any, era: Era) -> None:
    start = trio.current_time()
    for name, outputs in (
        ("post", ["delivered a", "booked a of 2 kg and a of 2 kg from dispatch, weigh"]),
        ("later", ["delivered b", "booked b of 3 kg and b of 3 kg from dispatch, weigh"]),
    ):
        workflow = post(storage, era, id=name)
        result = await workflow.run(checkpoint_id=LATEST)
        assert result.outputs == outputs
    assert trio.current_time() - start == 90 + 10  # the second began ten seconds after the first


async def write_deadlines(storage: Any) -> None:
    """Two requests, one with a deadline; then the deadline passes."""
    workflow = clerk(storage, FIRST)
    await workflow.run(FIRST.make("a"))
    await trio.sleep(1001)
    async with workflow.stream(responses={}, wait_for_responses=True, buffer=None) as run:
        await trio.testing.wait_all_tasks_blocked()
        run.cancel()


async def resume_deadlines(storage: Any, era: Era) -> None:
    asked = (await storage.list(workflow_id="clerk"))[-2]
    in_time = clerk(storage, era, id="in time")
    await in_time.run(checkpoint_id=asked.id)
    assert sorted(in_time.pending_requests) == ["any time", "urgent"]
    answers = {"urgent": era.leave(True), "any time": [era.leave(False)]}
    assert (await in_time.run(responses=answers)).outputs == ["a: True", "a: [False]"]
    passed = next(info for info in await storage.list(workflow_id="clerk") if info.kind == "responses")
    late = clerk(storage, era, id="late")
    assert (await late.run(checkpoint_id=passed.id)).outputs == ["a: nothing within 1000 s"]
    await trio.sleep(1001)
    later = clerk(storage, era, id="later")
    async with later.stream(checkpoint_id=asked.id, wait_for_responses=True, buffer=None) as run:
        await trio.testing.wait_all_tasks_blocked()
        await run.respond("any time", [era.leave(True)])
        result = await run.wait()
    assert result.outputs == ["a: nothing within 1000 s", "a: [True]"]


async def write_children(storage: Any) -> None:
    """A request two levels down, a timer there, an input that waits for its turn; and a child that keeps its state."""
    parcels = [FIRST.make("quick", 1), FIRST.make("slow", 2), FIRST.make("last", 3)]
    await left_after(10, offices(storage, FIRST).run(parcels))


async def resume_children(storage: Any, era: Era) -> None:
    start = trio.current_time()
    workflow = offices(storage, era)
    result = await workflow.run(checkpoint_id=LATEST)
    assert trio.current_time() - start == 500
    assert result.outputs == ["1 counted", "2 counted", "3 counted"]
    assert sorted(workflow.pending_requests) == ["last", "quick", "slow"]
    result = await workflow.run(responses={name: era.leave(name != "slow") for name in workflow.pending_requests})
    assert sorted(result.outputs) == ["last of 3 kg: True", "quick of 1 kg: True", "slow of 2 kg: False"]
    result = await workflow.run([era.make("more", 4)])
    assert result.outputs == ["4 counted"]


async def write_attempts(storage: Any) -> None:
    """Two attempts failed, the third is to come."""
    await left_after(60, carrier(storage, FIRST, TRIES, acts(fails, fails), id="carrier").run([FIRST.make("a")]))


async def resume_attempts(storage: Any, era: Era) -> None:
    start = trio.current_time()
    workflow = carrier(storage, era, TRIES, acts(fails, None, None), id="carrier")
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == ["a, attempt 4", "a, attempt 1"]
    # What is left of a gap is at most a gap; then one more.
    assert trio.current_time() - start == 100
    assert workflow.executors["carry"].state == [era.make("a"), era.make("a")]


async def write_restarts(storage: Any) -> None:
    """One restart is committed; another is noted in a superstep of which one delivery finished after it."""
    act = acts(fails, None, None, None, fails, None, trio.sleep_forever)
    workflow = carrier(storage, FIRST, RESTARTS, act, id="carrier")
    await workflow.run([FIRST.make("a")])
    await left_after(10, workflow.run([FIRST.make("b"), FIRST.make("c")], durability="delivery"))


async def resume_restarts(storage: Any, era: Era) -> None:
    head = await storage.latest(workflow_id="carrier")
    assert len(await storage.read_journal("carrier", head.id)) == 3
    workflow = carrier(storage, era, RESTARTS, acts(fails, None, None), id="carrier")
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == ["b, attempt 1", "c, attempt 1"]
    times = workflow._core.standing.snapshot.table("restarts")["carry"]
    assert len(times) == 3
    assert times[:2] == (946_684_800.0, 946_684_800.0)


async def write_half(storage: Any) -> None:
    """Two of three deliveries are in the journal, with messages, outputs and state; the third is at work."""
    act = acts(None, None, trio.sleep_forever)
    workflow = carrier(storage, FIRST, None, act, id="carrier")
    await left_after(10, workflow.run([FIRST.make("a"), FIRST.make("b", 2), FIRST.make("c", 3)], durability="delivery"))


async def resume_half(storage: Any, era: Era) -> None:
    head = await storage.latest(workflow_id="carrier")
    assert len(await storage.read_journal("carrier", head.id)) == 2
    workflow = carrier(storage, era, None, acts(None, None), id="carrier")
    result = await workflow.run(checkpoint_id=LATEST)
    assert result.outputs == ["a, attempt 1", "b, attempt 1", "c, attempt 1", "a, attempt 1"]
    assert workflow._core.standing.snapshot.table("state")["carried"] == 4
    assert workflow.executors["carry"].state == [era.make("a"), era.make("b", 2), era.make("c", 3), era.make("a")]


KEYS = {"2026": bytes(range(32)), "2027": bytes(range(32, 64))}


async def write_encrypted(storage: Any) -> None:
    """Under two keys, with a journal; nonces count, as no others may."""
    numbers = itertools.count()
    with mock.patch.object(sealing, "os", SimpleNamespace(urandom=lambda size: next(numbers).to_bytes(size))):
        old = EncryptedStorage(storage, keys=KEYS, current="2026")
        await depot(old, FIRST).run(FIRST.make("a", 3))
        new = EncryptedStorage(storage, keys=KEYS, current="2027")
        workflow = depot(new, FIRST, broken=True)
        try:
            await workflow.run(FIRST.make("b", 4))
        except OSError:
            return
    raise AssertionError("the road was open")


async def resume_encrypted(storage: Any, era: Era) -> None:
    opened = EncryptedStorage(storage, keys=KEYS, current="2027")
    entry = (await storage.list(workflow_id="depot"))[-1]
    workflow = depot(opened, era, id="branch")
    assert (await workflow.run(checkpoint_id=entry.id)).outputs == ["counted a"]
    await asked_for(workflow, era, "a", 3)
    head = await opened.latest(workflow_id="depot")
    assert len(await opened.read_journal("depot", head.id)) == 1
    workflow = depot(opened, era)
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["counted b"]


PENDING = {
    name: Entry(name, write, resume)
    for name, write, resume in (
        ("timers", write_timers, resume_timers),
        ("deadlines", write_deadlines, resume_deadlines),
        ("children", write_children, resume_children),
        ("attempts", write_attempts, resume_attempts),
        ("restarts", write_restarts, resume_restarts),
        ("half-a-superstep", write_half, resume_half),
        ("encrypted", write_encrypted, resume_encrypted),
    )
}

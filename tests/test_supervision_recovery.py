"""Attempts, gaps and restarts outlive the process that made them: S21 to S23 of docs/supervision.md (P6, R05, R12, R22)."""

from typing import Any

import pytest
import trio

from actorflow import (
    LATEST,
    InMemoryCheckpointStorage,
    RestartIntensity,
    Retry,
    SqliteCheckpointStorage,
    SupervisionPolicy,
    Workflow,
    handler,
)
from actorflow.core.effects import Delivery
from actorflow.core.trials import Restarts, Trials
from actorflow.errors import CheckpointError, CodecError
from actorflow.events import ExecutorRetryingEvent
from actorflow.testing import cancel_everywhere, empty_house, scheduling_seeds
from tests.scenarios import Tell
from tests.test_supervision import Fault, Flaky, built, policy, restarting, shared


async def hang(ctx: Any) -> None:
    await trio.sleep_forever()


class Dying(InMemoryCheckpointStorage):
    """Loses what is written after the process died."""

    dead = False

    async def save(self, commit: Any) -> Any:
        if self.dead:
            raise OSError("the process is dead")
        return await super().save(commit)

    async def write_journal(self, entries: Any, *, lease: Any = None) -> None:
        if not self.dead:
            await super().write_journal(entries, lease=lease)

    async def release_lease(self, lease: Any) -> None:
        if not self.dead:
            await super().release_lease(lease)


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
        return
    with SqliteCheckpointStorage(tmp_path / "x.db") as opened:
        yield opened


def flaky_flow(storage: Any, flaky: Flaky, **options: Any) -> Workflow:
    return built(flaky, Tell("end"), checkpoint_storage=storage, **options)


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
async def test_s21_a_cancelled_run_is_taken_up_with_its_counts_and_what_is_left_of_the_gap(
    storage: Any, durability: Any, autojump_clock: Any
) -> None:
    flaky = Flaky(plan={"b": [Fault()] * 9}, policy=policy(4, delay=10))
    began = trio.current_time()
    with trio.move_on_after(25):  # attempts at 0 and 10 s have failed, the third is due at 30 s
        await flaky_flow(storage, flaky).run("a b", durability=durability)
    await trio.sleep(1)

    again = Flaky(plan={"b": [Fault()]}, policy=policy(4, delay=10))
    workflow = flaky_flow(storage, again)
    result = await workflow.run(checkpoint_id=LATEST, durability=durability)

    assert [(text, attempt, round(time - began)) for text, attempt, _, time in again.calls] == [
        ("b", 3, 30),
        ("b", 4, 70),
    ]
    assert [call[2] for call in again.calls] == [flaky.calls[1][2]] * 2  # delivery ids
    assert result.outputs == ["a/1", "b/4", "a!", "b!"]
    assert (shared(workflow), again.state.texts) == ({"a": 1, "b": 1}, ["a", "b"])


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
async def test_s21_so_is_a_run_whose_process_died_in_a_gap(durability: Any, autojump_clock: Any) -> None:
    storage = Dying()
    flaky = Flaky(plan={"a": [Fault()] * 9}, policy=policy(3, delay=10))
    began = trio.current_time()
    async with flaky_flow(storage, flaky).stream("a", durability=durability):
        await trio.sleep(15)
        storage.dead = True
    storage.dead = False
    await trio.sleep(40)  # past the gap, and past the lease

    again = Flaky(plan={"a": []}, policy=policy(3, delay=10))
    result = await flaky_flow(storage, again).run(checkpoint_id=LATEST, wait=True)

    assert [(attempt, round(time - began)) for _, attempt, _, time in again.calls] == [(3, 55)]
    assert result.outputs == ["a/3", "a!"]


async def test_s21_a_failed_attempt_is_written_before_its_gap_begins(autojump_clock: Any) -> None:
    storage = InMemoryCheckpointStorage()
    workflow = flaky_flow(storage, Flaky(plan={"a": [Fault()]}, policy=policy(2, delay=10)))
    async with workflow.stream("a") as run:
        async for event in run.events:
            if isinstance(event, ExecutorRetryingEvent):
                (entry,) = await storage.read_journal("w", workflow.head)
                assert entry.index == 2**32
    assert await storage.read_journal("w", workflow.head) == []


async def test_s21_a_policy_under_which_nothing_fails_writes_nothing(autojump_clock: Any) -> None:
    class Counting(InMemoryCheckpointStorage):
        written = 0

        async def write_journal(self, entries: Any, *, lease: Any = None) -> None:
            self.written += len(entries)
            await super().write_journal(entries, lease=lease)

    storage = Counting()
    for each in (policy(9, "drop", timeout=5, delay=3), restarting(attempts=3)):
        await flaky_flow(storage, Flaky(policy=each)).run("a b c")
    assert storage.written == 0


async def test_s21_without_a_storage_the_same_workflow_counts_on(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault()] * 2}, policy=policy(3, delay=10))
    workflow = built(flaky, Tell("end"))
    began = trio.current_time()
    with trio.move_on_after(5):
        await workflow.run("a")

    result = await workflow.run(checkpoint_id=LATEST)

    assert [(attempt, round(time - began)) for _, attempt, _, time in flaky.calls] == [(1, 0), (2, 10), (3, 30)]
    assert result.outputs == ["a/3", "a!"]


async def test_s21_an_explicit_checkpoint_a_branch_and_a_fresh_message_count_from_the_beginning(
    storage: Any, autojump_clock: Any
) -> None:
    first = flaky_flow(storage, Flaky(plan={"a": [Fault()] * 9}, policy=policy(3, delay=10)))
    with trio.move_on_after(15):
        await first.run("a")

    for choice in ("branch", "explicit", "fresh"):
        flaky = Flaky(plan={"a": [Fault()]}, policy=policy(3, delay=10))
        workflow = flaky_flow(storage, flaky, id="branch" if choice == "branch" else "w")
        if choice == "fresh":
            await workflow.run("a")
        else:
            await workflow.run(checkpoint_id=first.head)
        assert [attempt for _, attempt, *_ in flaky.calls] == [1, 2], choice


async def test_s22_a_run_that_failed_for_good_is_taken_up_with_all_its_attempts(
    storage: Any, autojump_clock: Any
) -> None:
    flaky = Flaky(plan={"a": [Fault()] * 3}, policy=policy(3, delay=1))
    with pytest.raises(Fault):
        await flaky_flow(storage, flaky).run("a")

    again = Flaky(plan={"a": [Fault()] * 2}, policy=policy(3, delay=1))
    assert (await flaky_flow(storage, again).run(checkpoint_id=LATEST)).outputs == ["a/3", "a!"]
    assert [attempt for _, attempt, *_ in again.calls] == [1, 2, 3]


async def test_s22_so_is_one_of_the_same_process(autojump_clock: Any) -> None:
    flaky = Flaky(plan={"a": [Fault()] * 5}, policy=policy(3))
    workflow = built(flaky, Tell("end"))
    with pytest.raises(Fault):
        await workflow.run("a")
    await workflow.run(checkpoint_id=LATEST)
    assert [attempt for _, attempt, *_ in flaky.calls] == [1, 2, 3, 1, 2, 3]


async def test_s23_what_a_handler_raises_while_its_run_is_cancelled_is_no_failed_attempt(autojump_clock: Any) -> None:
    async def convert(ctx: Any) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise Fault from None

    for on_failure in ("fail", "drop", "restart"):
        flaky = Flaky(plan={"a": [convert]}, policy=policy(2, on_failure, delay=10))
        workflow = built(flaky, Tell("end"))
        with trio.move_on_after(1):
            await workflow.run("a")
        result = await workflow.run(checkpoint_id=LATEST)
        assert [attempt for _, attempt, *_ in flaky.calls] == [1, 1]
        assert result.outputs == ["a/1", "a!"]


# Restarts.


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
async def test_s21_restarts_outlive_a_process_within_a_superstep(durability: Any, autojump_clock: Any) -> None:
    storage = Dying()
    flaky = Flaky(plan={"b": [Fault(), hang]}, policy=restarting(1, period=1000))
    async with flaky_flow(storage, flaky).stream("a b", durability=durability):
        await trio.sleep(1)
        storage.dead = True
    storage.dead = False
    assert [text for text, *_ in flaky.calls] == ["a", "b", "a", "b"]

    again = Flaky(plan={"b": [Fault()]}, policy=restarting(1, period=1000))
    with pytest.raises(Fault):  # the one restart that is allowed was before the crash
        await flaky_flow(storage, again).run(checkpoint_id=LATEST, wait=True)
    assert [text for text, *_ in again.calls] == (["b"] if durability == "delivery" else ["a", "b"])

    last = Flaky(policy=restarting(1, period=1000))
    workflow = flaky_flow(storage, last)
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["a/1", "b/1", "a!", "b!"]
    assert last.state.texts == ["a", "b"]


async def test_s21_what_was_finished_before_a_restart_is_not_taken_up(autojump_clock: Any) -> None:
    """With durability="delivery" it is in the journal, and a restart discards it."""
    storage = Dying()
    salt = ["first", "second"]

    class Salted(Flaky):
        @handler(output=str, workflow_output=str)
        async def work(self, text: str, ctx: Any) -> None:
            if text == "a":
                ctx.send_message(salt.pop(0))
                return
            self.calls.append((text, ctx.attempt, ctx.delivery_id, 0))
            if len(self.calls) == 1:
                raise Fault
            await trio.sleep_forever()

    async with flaky_flow(storage, Salted(policy=restarting())).stream("a b", durability="delivery"):
        await trio.sleep(1)
        storage.dead = True
    storage.dead = False

    class Rest(Flaky):
        type_name = "Salted"

        @handler(output=str, workflow_output=str)
        async def work(self, text: str, ctx: Any) -> None:
            ctx.send_message(f"rest of {text}")

    result = await flaky_flow(storage, Rest(policy=restarting())).run(checkpoint_id=LATEST, wait=True)
    assert result.outputs == ["second", "rest of b"]


async def test_s21_restarts_outlive_a_process_over_supersteps(storage: Any, autojump_clock: Any) -> None:
    first = flaky_flow(storage, Flaky(plan={"a": [Fault()]}, policy=restarting(1, period=1000)))
    await first.run("a")

    flaky = Flaky(plan={"b": [Fault()]}, policy=restarting(1, period=1000))
    workflow = flaky_flow(storage, flaky)
    await workflow.run(checkpoint_id=LATEST)
    with pytest.raises(Fault):
        await workflow.run("b")
    await trio.sleep(1000)
    flaky.plan["c"] = [Fault()]
    assert (await workflow.run("c")).outputs == ["c/1", "c!"]


# What can go wrong with the journal.


class Full(InMemoryCheckpointStorage):
    async def write_journal(self, entries: Any, *, lease: Any = None) -> None:
        raise OSError("disk full")


async def test_a_failed_attempt_that_cannot_be_written_fails_the_run_unless_told_otherwise(autojump_clock: Any) -> None:
    strict = flaky_flow(Full(), Flaky(plan={"a": [Fault()]}, policy=policy(2)))
    with pytest.raises(CheckpointError, match="disk full"):
        await strict.run("a")
    warned = flaky_flow(Full(), Flaky(plan={"a": [Fault()]}, policy=policy(2)), checkpoint_failures="warn")
    assert (await warned.run("a")).outputs == ["a/2", "a!"]


@pytest.mark.parametrize("note", [[], "text", ["attempts", 1], ["attempts", 0, "x", 0, 0], ["other", 1], ["restarts"]])
async def test_a_damaged_note_is_a_codec_error(note: Any, autojump_clock: Any) -> None:
    storage = InMemoryCheckpointStorage()
    workflow = flaky_flow(storage, Flaky(plan={"a": [Fault()] * 9}, policy=policy(3, delay=10)))
    with trio.move_on_after(5):
        await workflow.run("a")
    codec = workflow._core.definition.codec
    (entry,) = await storage.read_journal("w", workflow.head)
    damaged = type(entry)(
        workflow_id="w", checkpoint_id=entry.checkpoint_id, index=2 * 2**32, payload=codec._plain(note)
    )
    await storage.write_journal([damaged])
    with pytest.raises(CodecError, match="journal"):
        await flaky_flow(storage, Flaky(policy=policy(3))).run(checkpoint_id=LATEST)


X = ((), "x")


def test_notes_of_two_processes_are_told_apart_by_their_serial() -> None:
    delivery = Delivery("x", "message")
    trials = Trials()
    assert not trials
    trials.failed(0, X, delivery, attempts=1, due=5.0, delay=1.0)
    (early,) = trials.to_write().values()
    trials.failed(0, X, delivery, attempts=2, due=9.0, delay=2.0)
    (late,) = trials.to_write().values()
    trials.wrote({0: early})
    assert trials.to_write() == {0: late}
    trials.wrote({0: late})
    assert trials.to_write() == {}
    trials.take(early)
    assert trials.of(0, X, delivery) is late
    assert trials.of(0, X, Delivery("x", "message")) is None
    trials.take_restarts(X, Restarts(1, (3.0,), 0, 3))
    assert trials.of(0, X, delivery) is None
    trials.failed(0, X, delivery, attempts=1, due=1.0, delay=1.0)
    assert trials.of(0, X, delivery).serial == 4
    assert trials.next_superstep(lambda _: True).times() == {X: (3.0,)}
    assert trials.next_superstep(lambda _: True).restarts_of(X) == 0


# Cancelled anywhere, and taken up.


@pytest.mark.parametrize(
    "each",
    [
        SupervisionPolicy(timeout=2, retry=Retry(3, delay=1, jitter=0.5)),
        SupervisionPolicy(retry=Retry(2, delay=1), on_failure="drop"),
        SupervisionPolicy(retry=Retry(1), on_failure="restart", restarts=RestartIntensity(3, 1e6)),
    ],
    ids=["retry", "drop", "restart"],
)
@pytest.mark.parametrize("durability", ["superstep", "delivery"])
def test_a_run_cancelled_before_any_step_leaves_nothing_and_is_taken_up_to_the_same_end(
    each: Any, durability: Any
) -> None:
    def plan() -> dict[str, Any]:
        if each.on_failure == "drop":
            return {"b": [Fault()] * 99}
        return {"b": [Fault(), hang] if each.timeout else [Fault()]}

    def workflow() -> tuple[InMemoryCheckpointStorage, Workflow, Flaky]:
        storage = InMemoryCheckpointStorage()
        flaky = Flaky(plan=plan(), policy=each)
        return storage, flaky_flow(storage, flaky), flaky

    async def scenario(made: Any) -> None:
        await made[1].run("a b c", durability=durability)

    async def check(made: Any) -> None:
        storage, _, first = made
        if await storage.latest(workflow_id="w") is None:
            return
        flaky = Flaky(plan=first.plan, policy=each)
        taken_up = flaky_flow(storage, flaky)
        async with empty_house():
            result = await taken_up.run(checkpoint_id=LATEST)
        kept = ["a", "c"] if each.on_failure == "drop" else ["a", "b", "c"]
        assert [output.split("/")[0] for output in result.outputs] == [*kept, *(f"{text}!" for text in kept)]
        assert shared(taken_up) == dict.fromkeys(kept, 1)
        assert flaky.state.texts == kept
        attempts = [attempt for text, attempt, *_ in [*first.calls, *flaky.calls] if text == "b"]
        assert max(attempts) <= (each.retry.attempts if each.retry else 1)

    for seed in scheduling_seeds(2):
        report = cancel_everywhere(scenario, setup=workflow, check=check, seed=seed)
        assert report.cancelled > 10

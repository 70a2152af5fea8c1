"""The sweep finds planted cancellation bugs, passes the right shapes, and replays a round alone (P1, R06, R25)."""

import gc
import itertools

import attrs
import pytest
import trio
import trio.testing

from actorflow.testing import LeakError, SweepReport, cancel_everywhere


@attrs.define(eq=False)
class WorkflowCore:
    """One limiter and what a scenario noticed; made afresh for each round."""

    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    raised: int = 0
    caught: int = 0
    log: list[str] = attrs.field(factory=list)


async def right_shape(core: WorkflowCore) -> None:
    token = object()
    await core.limiter.acquire_on_behalf_of(token)
    try:
        await trio.lowlevel.checkpoint()
        await trio.sleep(1)
    finally:
        core.limiter.release_on_behalf_of(token)


async def await_between_acquire_and_try(core: WorkflowCore) -> None:
    token = object()
    await core.limiter.acquire_on_behalf_of(token)
    await trio.lowlevel.checkpoint()
    try:
        await trio.sleep(1)
    finally:
        core.limiter.release_on_behalf_of(token)


async def unshielded_await_before_release(core: WorkflowCore) -> None:
    token = object()
    await core.limiter.acquire_on_behalf_of(token)
    try:
        await trio.sleep(1)
    finally:
        await trio.lowlevel.checkpoint()
        core.limiter.release_on_behalf_of(token)


async def shielded_flush_then_release(core: WorkflowCore) -> None:
    token = object()
    await core.limiter.acquire_on_behalf_of(token)
    try:
        try:
            await trio.sleep(1)
        finally:
            with trio.move_on_after(5, shield=True):
                await trio.sleep(1)
    finally:
        core.limiter.release_on_behalf_of(token)


async def three_contenders(core: WorkflowCore, shape) -> None:
    async with trio.open_nursery() as nursery:
        for index in range(3):
            nursery.start_soon(shape, core, name=f"run {index}")


@pytest.mark.parametrize("shape", [right_shape, shielded_flush_then_release])
def test_the_right_shapes_leave_nothing_behind_at_any_step(shape):
    report = cancel_everywhere(lambda core: three_contenders(core, shape), setup=WorkflowCore, seeds=range(5))

    assert report.seeds == (0, 1, 2, 3, 4)
    assert report.steps > 5 * 10
    assert 0 < report.cancelled <= report.steps
    assert report.leaks == ()


@pytest.mark.parametrize("shape", [await_between_acquire_and_try, unshielded_await_before_release])
def test_the_wrong_shapes_are_found_and_the_leak_is_named(shape):
    with pytest.raises(LeakError, match=r"limiter token held by .*\(1/1 borrowed\)") as caught:
        cancel_everywhere(shape, setup=WorkflowCore)

    report = caught.value.report
    assert 0 < len(report.leaks) < report.steps
    assert f"seed=0, only={report.leaks[0].step})" in str(caught.value)


def test_an_unshielded_await_before_release_leaks_at_more_places_than_one_in_the_gap():
    def leaks(shape) -> int:
        with pytest.raises(LeakError) as caught:
            cancel_everywhere(lambda core: three_contenders(core, shape), setup=WorkflowCore)
        return len(caught.value.report.leaks)

    assert leaks(unshielded_await_before_release) > leaks(await_between_acquire_and_try)


def test_closing_a_channel_by_async_with_swallows_an_error_and_a_check_sees_it():
    async def scenario(core: WorkflowCore) -> None:
        send, receive = trio.open_memory_channel[int](1)
        with receive:
            try:
                async with send:
                    await trio.lowlevel.checkpoint()
                    core.raised += 1
                    raise KeyError("the real error")
            except KeyError:
                core.caught += 1

    def check(core: WorkflowCore) -> None:
        assert core.caught == core.raised, "the real error vanished"

    with pytest.raises(AssertionError, match="vanished") as caught:
        cancel_everywhere(scenario, setup=WorkflowCore, check=check)
    assert "cancelled before step" in "".join(caught.value.__notes__)


def test_closing_a_channel_by_with_keeps_the_error():
    async def scenario(core: WorkflowCore) -> None:
        send, receive = trio.open_memory_channel[int](1)
        try:
            with send, receive:
                await trio.lowlevel.checkpoint()
                core.raised += 1
                raise KeyError("the real error")
        except KeyError:
            core.caught += 1
        await trio.lowlevel.checkpoint()

    def check(core: WorkflowCore) -> None:
        assert core.caught == core.raised

    assert cancel_everywhere(scenario, setup=WorkflowCore, check=check).leaks == ()


def failing_round(scenario, **options) -> tuple[str, int]:
    with pytest.raises(LeakError) as caught:
        cancel_everywhere(scenario, setup=WorkflowCore, **options)
    leak = caught.value.report.leaks[0]
    return " ".join(leak.left), leak.step


def test_only_replays_the_failing_round_alone():
    rounds = []

    async def scenario(core: WorkflowCore) -> None:
        rounds.append(1)
        await await_between_acquire_and_try(core)

    _, step = failing_round(scenario)
    rounds.clear()

    with pytest.raises(LeakError) as caught:
        cancel_everywhere(scenario, setup=WorkflowCore, only=step)
    assert len(rounds) == 1
    assert [leak.step for leak in caught.value.report.leaks] == [step]
    assert cancel_everywhere(scenario, setup=WorkflowCore, only=1).steps == 1
    assert cancel_everywhere(scenario, setup=WorkflowCore, only=0).steps == 0


def test_only_past_the_end_says_that_the_scenario_is_shorter():
    with pytest.raises(ValueError, match="only=500: under seed 0 the scenario ends before that step"):
        cancel_everywhere(right_shape, setup=WorkflowCore, only=500)


def test_step_one_is_before_the_first_line_and_every_step_is_tried_once():
    reached: list[int] = []

    async def scenario() -> None:
        reached.append(0)
        for number in range(1, 4):
            await trio.lowlevel.checkpoint()
            reached.append(number)

    report = cancel_everywhere(scenario)

    assert (report.steps, report.cancelled) == (4, 4)
    uncancelled, before_step = [0, 1, 2, 3], [[0], [0], [0, 1], [0, 1, 2]]
    assert reached == [*uncancelled, *itertools.chain(*before_step), *uncancelled]


def test_an_item_granted_before_the_cancel_is_among_the_places_tried():
    """R06: cancellation and completion in one batch."""
    outcomes: list[tuple[str, ...]] = []

    async def scenario(core: WorkflowCore) -> None:
        send, receive = trio.open_memory_channel[str](1)
        with send, receive:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consume, core, receive)
                await trio.testing.wait_all_tasks_blocked()
                send.send_nowait("item")

    async def consume(core: WorkflowCore, receive) -> None:
        core.log.append(await receive.receive())
        await trio.lowlevel.checkpoint()
        core.log.append("handled")

    cancel_everywhere(scenario, setup=WorkflowCore, check=lambda core: outcomes.append(tuple(core.log)))

    assert set(outcomes) == {(), ("item",), ("item", "handled")}
    assert outcomes.count(("item",)) == 2  # woken with the item in hand; and at the checkpoint after it


def test_each_schedule_is_swept_and_a_sweep_repeats_itself():
    traces: list[tuple[str, ...]] = []

    async def scenario(core: WorkflowCore) -> None:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(step, core, name)

    async def step(core: WorkflowCore, name: str) -> None:
        await trio.lowlevel.checkpoint()
        core.log.append(name)

    def check(core: WorkflowCore) -> None:
        traces.append(tuple(core.log))

    cancel_everywhere(scenario, setup=WorkflowCore, check=check, seeds=range(6))
    first, traces[:] = list(traces), []
    cancel_everywhere(scenario, setup=WorkflowCore, check=check, seeds=range(6))

    assert traces == first
    assert len({trace for trace in first if len(trace) == 3}) > 2


def test_check_and_setup_may_be_async_and_check_runs_after_every_round():
    worlds: list[WorkflowCore] = []

    async def setup() -> WorkflowCore:
        await trio.lowlevel.checkpoint()
        return WorkflowCore()

    async def check(core: WorkflowCore) -> None:
        await right_shape(core)
        worlds.append(core)

    report = cancel_everywhere(right_shape, setup=setup, check=check)

    assert len(worlds) == report.steps + 2  # uncancelled at first and at last
    assert len(set(map(id, worlds))) == len(worlds)


def test_what_setup_made_is_not_the_scenarios_leak():
    def setup():
        return trio.open_memory_channel[int](5)

    async def scenario(ends) -> None:
        await ends[0].send(1)

    assert cancel_everywhere(scenario, setup=setup).leaks == ()


def test_a_channel_kept_open_by_a_cancelled_scenario_is_found():
    async def scenario(core: WorkflowCore) -> None:
        core.log.extend(trio.open_memory_channel[int](0))
        await trio.lowlevel.checkpoint()
        for end in core.log:
            end.close()

    text, _ = failing_round(scenario)
    assert "open send channel" in text
    assert "open receive channel" in text


def test_a_leak_of_something_made_before_the_sweep_is_found():
    core = WorkflowCore()

    with pytest.raises(LeakError, match="limiter token") as caught:
        cancel_everywhere(lambda: await_between_acquire_and_try(core))

    assert isinstance(caught.value.__cause__, trio.TooSlowError)  # the seat is never free again
    assert len(caught.value.report.leaks) == 1


def test_a_scenario_that_is_broken_without_any_cancel_shows_as_itself():
    async def scenario() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        cancel_everywhere(scenario, seed=4)
    assert "not cancelled, under scheduling seed 4" in caught.value.__notes__[0]
    assert "seed=4, only=0" in caught.value.__notes__[0]


def test_an_error_born_of_the_cancel_names_step_and_seed():
    async def scenario() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise KeyError("clean-up failed") from None

    with pytest.raises(KeyError) as caught:
        cancel_everywhere(scenario, seed=9)
    assert "cancelled before step 1, under scheduling seed 9; replay with" in caught.value.__notes__[0]


def test_a_clean_up_that_hangs_is_a_deadlock_with_its_step():
    async def scenario() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            with trio.CancelScope(shield=True, deadline=2e6):
                await trio.sleep_forever()
            raise

    with pytest.raises(trio.TooSlowError, match="deadlock") as caught:
        cancel_everywhere(scenario)
    assert "cancelled before step 1" in "".join(caught.value.__notes__)


def test_only_steps_of_the_chosen_tasks_count():
    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1, name="actor:writer")
            nursery.start_soon(trio.sleep, 2, name="pump")

    everything = cancel_everywhere(scenario)
    writer = cancel_everywhere(scenario, where=lambda task: task.name == "actor:writer")

    assert writer.steps == 2
    assert everything.steps > 4


def test_a_failing_choice_of_tasks_is_raised_and_not_lost_in_a_log():
    def where(task) -> bool:
        raise LookupError("no such task")

    with pytest.raises(LookupError, match="no such task"):
        cancel_everywhere(right_shape, setup=WorkflowCore, where=where)


def test_steps_of_system_tasks_do_not_count():
    async def scenario() -> None:
        done = trio.Event()

        async def busy() -> None:
            for _ in range(50):
                await trio.lowlevel.checkpoint()
            done.set()

        trio.lowlevel.spawn_system_task(busy)
        await done.wait()

    assert cancel_everywhere(scenario).steps == 2


def test_an_endless_scenario_is_refused():
    async def scenario() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(ValueError, match="still going after 50 steps"):
        cancel_everywhere(scenario, max_steps=50)


@pytest.mark.parametrize("options", [{"seeds": ()}, {"only": -1}, {"only": 11, "max_steps": 10}])
def test_a_sweep_of_nothing_is_refused(options):
    with pytest.raises(ValueError, match="nothing to sweep"):
        cancel_everywhere(right_shape, setup=WorkflowCore, **options)


def test_the_report_reads_well():
    assert str(SweepReport(seeds=(0,), steps=35, cancelled=34)) == (
        "35 steps over 1 schedule, 34 rounds ended by the cancellation, 0 rounds left something behind"
    )


def test_the_collector_is_as_before_after_a_sweep():
    frozen = gc.get_freeze_count()
    cancel_everywhere(right_shape, setup=WorkflowCore)
    with pytest.raises(LeakError):
        cancel_everywhere(await_between_acquire_and_try, setup=WorkflowCore)
    assert gc.get_freeze_count() <= frozen
    assert gc.isenabled()


def test_a_heap_that_somebody_else_froze_stays_frozen_and_leaks_are_found_still():
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        failing_round(await_between_acquire_and_try)
        cancel_everywhere(right_shape, setup=WorkflowCore)
        assert gc.get_freeze_count() > frozen // 2  # not unfrozen; some of it may have died meanwhile
    finally:
        gc.unfreeze()


async def test_inside_a_trio_run_a_sweep_is_refused():
    with pytest.raises(RuntimeError, match="make the test a plain function"):
        cancel_everywhere(right_shape, setup=WorkflowCore)

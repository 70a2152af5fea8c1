"""What a kill may lose and what it may repeat, in each durability: one test for each cell of the table in docs/checkpoints.md.

The table is that under "What a crash can cost" (R07, R22, F38, P6). A chain of three supersteps, the last with two
deliveries to one executor, is killed at named points. "Lost" is how many finished supersteps are not in the storage;
"repeated" how many deliveries were handled twice.
"""

from typing import Never

import pytest

from actorflow import Executor, WorkflowBuilder, WorkflowContext, handler
from actorflow.testing import crash_everywhere


class Step(Executor):
    @handler
    async def step(self, number: int, ctx: WorkflowContext[int]) -> None:
        for each in range(2 if number else 1):
            ctx.send_message(number + each + 1)


class Tell(Executor):
    @handler
    async def tell(self, number: int, ctx: WorkflowContext[Never, int]) -> None:
        await ctx.yield_output(number)


def make_workflow():
    builder = WorkflowBuilder(name="window", start_executor=lambda: Step(id="one"))
    return builder.add_chain(["one", lambda: Step(id="two"), lambda: Tell(id="tell")]).build(id="w")


def repeated(durability, verb, moment, number=-1):
    """How many deliveries were handled twice after a kill at the number-th operation of a verb."""
    report = crash_everywhere(make_workflow, 0, durability=durability, faults=["kill"])
    report.raise_if_broken()
    rows = [row for row in report.rows if row.operation.split(" ", 1)[1].startswith(verb) and row.moment == moment]
    return rows[number].repeated


def test_superstep_loses_the_superstep_under_way_and_repeats_its_deliveries():
    assert repeated("superstep", "save (superstep 3)", "before") == 2


def test_superstep_loses_and_repeats_nothing_once_the_superstep_is_stored():
    assert repeated("superstep", "save (superstep 3)", "after") == 0


def test_superstep_never_repeats_what_an_earlier_superstep_did():
    assert repeated("superstep", "save (superstep 2)", "before") == 1


def test_async_loses_the_superstep_under_way_and_the_one_before_it():
    """The save of superstep 2 is under way while superstep 3 is handled."""
    assert repeated("async", "save (superstep 2)", "before") in {1, 2, 3}
    assert repeated("async", "save (superstep 3)", "before") == 2


def test_async_repeats_nothing_once_the_last_superstep_is_stored():
    assert repeated("async", "save (superstep 3)", "after") == 0


def test_exit_loses_the_whole_run_and_repeats_all_of_it():
    assert repeated("exit", "save (superstep 3)", "before") == 4


def test_exit_repeats_nothing_once_the_end_is_stored():
    assert repeated("exit", "save (superstep 3)", "after") == 0


def test_delivery_loses_the_delivery_under_way_and_repeats_it_alone():
    assert repeated("delivery", "write_journal (deliveries 1)", "before") == 1


def test_delivery_repeats_nothing_once_the_delivery_is_stored():
    assert repeated("delivery", "write_journal (deliveries 1)", "after") == 0


def test_delivery_repeats_nothing_when_the_superstep_was_not_stored():
    assert repeated("delivery", "save (superstep 3)", "before") == 0


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
def test_a_kill_before_the_entry_is_stored_repeats_nothing(durability):
    assert repeated(durability, "save (entry 0)", "before") == 0


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
@pytest.mark.parametrize("fault", ["error", "hang"])
def test_a_run_that_ends_by_code_loses_no_finished_delivery_of_the_superstep_under_way(durability, fault):
    """F38: whatever the durability, what finished in a superstep that did not commit is kept when the run can still write."""
    report = crash_everywhere(make_workflow, 0, durability=durability, faults=[fault])
    report.raise_if_broken()
    rows = [row for row in report.rows if "save (superstep 1)" in row.operation and row.moment == "before"]
    assert durability not in {"superstep", "delivery"} or [row.repeated for row in rows] == [0]

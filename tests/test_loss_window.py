"""What a kill may lose and what it may repeat, in each durability: the table in docs/checkpoints.md, row by row.

The table is that under "What a crash can cost" (R07, R22, F38, P6). A chain of three supersteps, the last with two
deliveries to one executor, is killed at named operations; looked at are the superstep that is stored then, and how many
deliveries are handled twice. Outputs come again with the deliveries that made them.
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


def killed(durability, operation, moment):
    """The superstep a kill there leaves in the storage, and how many deliveries are handled twice then."""
    report = crash_everywhere(make_workflow, 0, durability=durability, faults=["kill"])
    report.raise_if_broken()
    (row,) = [row for row in report.rows if row.operation.split(" ", 1)[1] == operation and row.moment == moment]
    return row.resumed_from, row.repeated


def test_superstep_loses_the_superstep_under_way_and_repeats_its_deliveries():
    assert killed("superstep", "save (superstep 3)", "before") == (2, 2)


def test_superstep_loses_and_repeats_nothing_once_the_superstep_is_stored():
    assert killed("superstep", "save (superstep 3)", "after") == (3, 0)


def test_superstep_keeps_what_an_earlier_superstep_did():
    assert killed("superstep", "save (superstep 2)", "before") == (1, 1)


def test_async_loses_the_superstep_under_way_and_the_one_before_it():
    """The save of superstep 2 is under way while superstep 3 is handled: its one delivery comes again, and what had begun of 3."""
    stored, repeated = killed("async", "save (superstep 2)", "before")

    assert stored == 1
    assert 1 <= repeated <= 3


def test_async_keeps_the_superstep_before_the_one_under_way():
    assert killed("async", "save (superstep 3)", "before") == (2, 2)


def test_async_loses_and_repeats_nothing_once_the_last_superstep_is_stored():
    assert killed("async", "save (superstep 3)", "after") == (3, 0)


def test_exit_loses_the_whole_run_and_repeats_all_of_it():
    assert killed("exit", "save (superstep 3)", "before") == (0, 4)


def test_exit_loses_and_repeats_nothing_once_the_end_is_stored():
    assert killed("exit", "save (superstep 3)", "after") == (3, 0)


def test_delivery_loses_the_delivery_under_way_and_repeats_it_alone():
    assert killed("delivery", "write_journal (deliveries 1)", "before") == (2, 1)


def test_delivery_repeats_nothing_once_the_delivery_is_stored():
    assert killed("delivery", "write_journal (deliveries 1)", "after") == (2, 0)


def test_delivery_repeats_nothing_when_the_superstep_was_not_stored():
    assert killed("delivery", "save (superstep 3)", "before") == (2, 0)


@pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
def test_a_kill_before_the_entry_is_stored_repeats_nothing(durability):
    assert killed(durability, "save (entry 0)", "before") == (None, 0)


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
@pytest.mark.parametrize("fault", ["error", "hang"])
def test_a_run_that_ends_by_code_repeats_nothing_that_had_finished(durability, fault):
    """F38: what finished in a superstep that could not be stored is kept, when the run can still write."""
    report = crash_everywhere(make_workflow, 0, durability=durability, faults=[fault])
    report.raise_if_broken()
    saves = [row for row in report.rows if row.operation[0].isdigit() and " save (superstep" in row.operation]
    rows = [row for row in saves if row.moment == "before"]

    assert [row.repeated for row in rows] == [0, 0, 0]

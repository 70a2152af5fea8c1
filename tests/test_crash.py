"""Crash equivalence (P6), enumerated: R22 every operation of the storage x {before, after, torn} x {kill, error, hang}.

Over every example and every shared scenario, in all four durabilities, in memory and in SQLite (R02, R07, F37-F41). What a
crash may repeat is checked against the table in docs/checkpoints.md, row by row.
"""

from collections import Counter

import pytest

from actorflow import InMemoryCheckpointStorage, WorkflowBuilder
from actorflow.testing import CrashableMemory, CrashableSqlite, CrashError, crash_everywhere
from tests.crash_subjects import EXAMPLES, SUBJECTS, example, played
from tests.scenarios import Tell

DURABILITIES = ["superstep", "async", "exit", "delivery"]
every_durability = pytest.mark.parametrize("durability", DURABILITIES)
every_subject = pytest.mark.parametrize("name", SUBJECTS)


@every_subject
@every_durability
def test_a_crash_at_any_operation_changes_nothing_in_the_end(name, durability):
    """R22, R02, P6: in memory, all faults."""
    report = played(crash_everywhere, name, durability=durability)

    report.raise_if_broken()
    assert Counter(row.fault for row in report.rows).keys() == {"kill", "error", "hang"}


@every_subject
@every_durability
def test_a_kill_or_a_power_cut_at_any_operation_changes_nothing_in_the_end_of_a_file(name, durability):
    """R22, R07, F39: in SQLite, killed before and after each operation, and with each write torn in two ways."""
    report = played(crash_everywhere, name, durability=durability, storage=CrashableSqlite, faults=["kill"])

    report.raise_if_broken()
    assert {row.moment for row in report.rows} == {"before", "after", "torn"}


@pytest.mark.parametrize("name", ["joined", "plain"])
@every_durability
def test_an_error_or_a_hang_of_a_file_changes_nothing_in_the_end(name, durability):
    """R22, R02."""
    played(
        crash_everywhere, name, durability=durability, storage=CrashableSqlite, faults=["error", "hang"]
    ).raise_if_broken()


class Unleased(InMemoryCheckpointStorage):
    """Grants no leases: a month would be 250,000 renewals, each of them an operation."""

    @property
    def acquire_lease(self):
        raise AttributeError("acquire_lease")


class UnleasedMemory(CrashableMemory):
    def __init__(self):
        self._storage = Unleased()


@pytest.mark.parametrize("durability", ["superstep", "async", "delivery"])  # "exit" begins the week and the month anew
def test_a_crash_at_any_operation_of_a_run_with_timers_changes_nothing_in_the_end(durability):
    """R22: a timer of a week fires after the resume, when it would have; the deadline of a request stays what it was."""
    make_workflow = example("reminder").office
    faults = ["kill", "error"]  # a hang is cut off after a minute, and shows in the deadline
    report = crash_everywhere(make_workflow, 90, durability=durability, storage=UnleasedMemory, faults=faults)

    report.raise_if_broken()


def test_every_example_is_swept():
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= {*SUBJECTS, "reminder"}


@pytest.mark.not_rehydrated(reason="lists the operations of a storage, and a load is one more")
def test_every_operation_is_struck_in_every_way():
    """R22: the rows are the whole product, and a storage that is only read is struck before it."""
    report = played(crash_everywhere, "plain", storage=CrashableSqlite, durability="delivery")
    rows = Counter(row.operation.split()[1] for row in report.rows)
    ways = {(row.moment, row.fault) for row in report.rows if " save " in row.operation}

    assert ways == {(m, f) for m in ("before", "after") for f in ("kill", "error", "hang")} | {("torn", "kill")}
    assert rows == {"acquire_lease": 8, "list": 3, "save": 4 * 8, "write_journal": 5 * 8, "release_lease": 8}


def test_the_report_is_a_table_that_a_person_can_read():
    report = played(crash_everywhere, "hello", faults=["kill"])
    header, first, *_, last = str(report).splitlines()

    assert header.split() == [
        "operation",
        "moment",
        "fault",
        "status",
        "state",
        "outputs",
        "repeated",
        "parents",
        "clean",
    ]
    assert first.split() == ["1", "acquire_lease", "before", "kill", "idle", "yes", "yes", "0", "yes", "yes"]
    assert last == f"{len(report.rows)} faults, 0 broken"


def test_a_factory_whose_workflows_cannot_take_each_other_up_is_refused():
    build = SUBJECTS["plain"].make_workflow
    one = build()
    with pytest.raises(ValueError, match="one object"):
        crash_everywhere(lambda: one, "x")
    ids = iter("ab")
    with pytest.raises(ValueError, match="build\\(id="):
        crash_everywhere(lambda: WorkflowBuilder(name="n", start_executor=Tell(id="t")).build(id=next(ids)), "x")


def test_a_sweep_that_finds_nothing_to_strike_is_no_success():
    report = played(crash_everywhere, "plain", faults=[])

    assert not report.ok
    with pytest.raises(CrashError):
        report.raise_if_broken()


def test_an_in_memory_storage_cannot_be_torn():
    medium = CrashableMemory()

    with pytest.raises(ValueError, match="one step"):
        medium.tear(medium.snapshot(), medium.snapshot(), 0)

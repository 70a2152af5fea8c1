"""Crash equivalence (P6), enumerated: R22 every operation of the storage x {before, after, torn} x {kill, error, hang}.

Over every example, every shared scenario, workflows inside workflows, supervised ones and such as go by the time of day, in
all four durabilities, in memory and in SQLite (R02, R04, R07, R12, F37-F41, F44), from the beginning and resumed. What a crash
may repeat is checked against the table in docs/checkpoints.md, row by row. That a sweep finds what is broken:
test_crash_broken.py and test_mutations.py.
"""

from collections import Counter

import pytest

from actorflow import WorkflowBuilder
from actorflow.testing import CrashableMemory, CrashableSqlite, CrashError, crash_everywhere
from tests.crash_subjects import EXAMPLES, SUBJECTS, SWEPT, TIMED, played
from tests.scenarios import Tell

DURABILITIES = ["superstep", "async", "exit", "delivery"]
every_durability = pytest.mark.parametrize("durability", DURABILITIES)
every_subject = pytest.mark.parametrize("name", SWEPT)
FAULTS = {"kill", "error", "hang"}


@every_subject
@every_durability
def test_a_crash_at_any_operation_changes_nothing_in_the_end(name, durability):
    """R22, R02, P6: in memory."""
    report = played(crash_everywhere, name, durability=durability)

    report.raise_if_broken()
    assert {(row.moment, row.fault) for row in report.rows} == {(m, f) for m in ("before", "after") for f in FAULTS}


@every_subject
@every_durability
def test_a_crash_at_any_operation_changes_nothing_in_the_end_of_a_file(name, durability):
    """R22, R02, R07, F39: in SQLite, where half of a write may reach the disk."""
    report = played(crash_everywhere, name, durability=durability, storage=CrashableSqlite)

    report.raise_if_broken()
    moments = ("before", "after", "torn")
    assert {(row.moment, row.fault) for row in report.rows} == {(m, f) for m in moments for f in FAULTS}


@pytest.mark.parametrize("name", sorted({*SWEPT} - {"racing", "patient"}))  # there a minute decides what comes first
def test_a_minute_between_the_fault_and_the_resume_changes_nothing(name):
    """R04, R22: leases run out meanwhile, timers are overdue, and a hang is borne for so long."""
    played(crash_everywhere, name, downtime=60.0, faults=["kill", "hang"]).raise_if_broken()


def test_every_example_is_swept():
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= {*SWEPT}


def ways_of(report, verb):
    return Counter((row.moment, row.fault) for row in report.rows if row.operation.split()[1] == verb)


@pytest.mark.not_rehydrated(reason="lists the operations of a storage, and a load is one more")
def test_every_operation_is_struck_in_every_way():
    """R22: the rows are the whole product; a kill leaves the same before and after a read."""
    report = played(crash_everywhere, "plain", storage=CrashableSqlite, durability="delivery")
    once = {(moment, fault): 1 for moment in ("before", "after") for fault in FAULTS}
    torn = {("torn", "kill"): 2, ("torn", "error"): 1, ("torn", "hang"): 1}

    written = {"acquire_lease": 1, "save": 4, "write_journal": 5, "release_lease": 1}
    for verb, times in written.items():
        assert ways_of(report, verb) == {way: count * times for way, count in {**once, **torn}.items()}, verb
    assert ways_of(report, "list") == {way: count for way, count in once.items() if way != ("after", "kill")}
    assert all(row.operation.startswith("resume ") or row.operation[0].isdigit() for row in report.rows)


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
def test_what_a_resume_reads_is_struck_on_both_sides(durability):
    """R22, R05: a run that resumes is interrupted while it opens, too."""
    report = played(crash_everywhere, "plain", durability=durability)
    read = {row.operation.split()[2] for row in report.rows if row.operation.startswith("resume ")}
    struck = {(row.moment, row.fault) for row in report.rows if row.operation.split()[:3:2] == ["resume", "latest"]}

    assert {"latest", "read_journal"} <= read
    assert struck == {("before", fault) for fault in FAULTS} | {("after", "error"), ("after", "hang")}


@pytest.mark.parametrize("name", TIMED)
def test_a_time_of_day_that_was_stored_stays_what_it_was(name):
    """R04: and one that was not is no later than the fault accounts for; both are part of what is compared."""
    played(crash_everywhere, name, storage=CrashableSqlite, faults=["kill"], seed=1).raise_if_broken()


def test_a_downtime_that_is_no_time_is_refused():
    for downtime in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="downtime"):
            crash_everywhere(SUBJECTS["plain"].make_workflow, "x", downtime=downtime)


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

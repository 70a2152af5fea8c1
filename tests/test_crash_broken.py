"""A sweep of crashes finds what is broken on purpose: storages that lose writes, and runs that resume badly (R22, R02, F39).

Each fault here is one that only some of the rows can find: those of writes that fail halfway, of reads, of runs that resume, or
of due times. The promises of the runtime itself are broken in test_mutations.py.
"""

import attrs
import pytest

import actorflow.runtime.restoring
from actorflow.checkpoint.sqlite.connections import Writer
from actorflow.errors import CheckpointError
from actorflow.events import WorkflowRunState
from actorflow.testing import CrashableMemory, CrashableSqlite, crash_everywhere
from actorflow.testing.crash_compare import compared
from actorflow.testing.crash_promises import Survivors, moved_dues
from actorflow.testing.crash_trial import End, Turn
from tests.crash_subjects import played


def broken_rows(durability="superstep", storage=CrashableSqlite, **options):
    rows = played(crash_everywhere, "plain", durability=durability, storage=storage, **options).broken
    return {(row.operation.startswith("resume "), row.moment, row.fault) for row in rows}, " ".join(
        problem for row in rows for problem in row.problems
    )


class SaysItIsStored(CrashableSqlite):
    """Takes a write that failed for one that was done."""

    def open(self):
        storage = super().open()
        save = storage.save

        async def hopeful(commit):
            try:
                return await save(commit)
            except CheckpointError:
                return attrs.evolve(commit.info, sequence=1)

        storage.save = hopeful
        return storage


def test_a_storage_that_takes_a_failed_write_for_one_that_was_done_is_found_by_writes_that_fail_halfway():
    where, problems = broken_rows(storage=SaysItIsStored)

    assert where == {(False, "torn", "error")}
    assert "told are stored" in problems


def test_a_storage_that_a_failed_write_leaves_unusable_is_found_by_writes_that_fail_halfway(monkeypatch):
    """R02: the run must keep what had finished, on its way out, over a disk that is whole again."""
    drop, opened = Writer._drop, Writer._opened

    def drops_for_good(writer):
        drop(writer)
        writer.is_lost = True

    def opens_never_again(writer):
        if getattr(writer, "is_lost", False):
            raise CheckpointError("the connection is gone")
        return opened(writer)

    monkeypatch.setattr(Writer, "_drop", drops_for_good)
    monkeypatch.setattr(Writer, "_opened", opens_never_again)

    where, problems = broken_rows()

    assert {(moment, fault) for _, moment, fault in where} <= {("torn", "error"), ("torn", "hang")}
    assert where
    assert "should have been kept" in problems


@pytest.mark.parametrize("storage", [CrashableMemory, CrashableSqlite])
def test_a_run_that_takes_a_journal_it_cannot_read_for_an_empty_one_is_found_by_runs_that_resume(storage, monkeypatch):
    """F38."""
    read_journal = actorflow.runtime.restoring.read_journal

    async def hopeful(*args, **kwargs):
        try:
            return await read_journal(*args, **kwargs)
        except CheckpointError:
            return {}

    monkeypatch.setattr(actorflow.runtime.restoring, "read_journal", hopeful)

    where, problems = broken_rows("delivery", storage)

    assert where == {(True, "before", "error"), (True, "after", "error")}
    assert "which the clean run did not" in problems


def ended(**dues):
    turns = [Turn(WorkflowRunState.IDLE, [], [], [])]
    return End(turns, {}, [], dues)


def problems_of(clean, end, late):
    return compared(clean, end, cells=("", "", ""), repeated=0, left=[], every_superstep=True, late=late).problems


def test_a_due_time_may_be_as_late_as_the_fault_accounts_for_and_no_later_and_never_early():
    """R04."""
    clean = ended(request=100.0)

    assert problems_of(clean, ended(request=107.0), 7.0) == ()
    assert "due 8 s later" in " ".join(problems_of(clean, ended(request=108.0), 7.0))
    assert "due -1 s later" in " ".join(problems_of(clean, ended(request=99.0), 7.0))


def test_a_due_time_that_was_stored_may_not_move_at_all():
    """R04."""
    survivors = Survivors(1, dues={"request": 100.0, "answered": 1.0})

    assert [*moved_dues(survivors, ended(request=100.0))] == []
    assert len([*moved_dues(survivors, ended(request=100.5))]) == 1

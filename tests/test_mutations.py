"""R27: take out what durability rests on, one thing at a time; for each, a named check fails.

The fence, the parent check, the canonical order, the journal and its drop, the release of the lease, the order of storing and
applying, the parent of a resumed run. Each is a monkeypatch of one function.
"""

from contextlib import asynccontextmanager

import pytest

from actorflow import InMemoryCheckpointStorage
from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.memory import journal as memory_journal
from actorflow.checkpoint.memory import leases as memory_leases
from actorflow.errors import CheckpointError
from actorflow.graph import tree_commit as tree_module
from actorflow.runtime.actor import Actor
from actorflow.runtime.journal import Journal
from actorflow.runtime.leasing import LeaseKeeper
from actorflow.runtime.recorder import Recorder
from actorflow.runtime.standing import Standing
from actorflow.testing import CrashableMemory, StorageConformance, crash_everywhere, run_seeded
from tests.crash_subjects import played
from tests.scenarios import plain


async def fails(clause):
    """Whether a clause of the conformance tests fails for the in-memory storage."""

    class Mutated(StorageConformance):
        @asynccontextmanager
        async def open_storage(self):
            yield InMemoryCheckpointStorage()

    try:
        await getattr(Mutated(), clause)()
    except (AssertionError, CheckpointError):
        return True
    return False


async def test_without_the_fence_a_clause_fails(monkeypatch):
    clause = "test_a_forged_lease_is_refused"
    assert not await fails(clause)
    monkeypatch.setattr(memory_leases, "check_writer", lambda lease, holding, now: False)

    assert await fails(clause)


async def test_without_the_parent_check_a_clause_fails(monkeypatch):
    clause = "test_an_unknown_parent_is_refused"
    assert not await fails(clause)
    monkeypatch.setattr(commit_rules, "check_parent", lambda *_: None)

    assert await fails(clause)


async def test_without_the_drop_of_the_journal_a_clause_fails(monkeypatch):
    clause = "test_a_save_ends_the_journal_of_its_workflow_id"
    assert not await fails(clause)
    monkeypatch.setattr(memory_journal.Journal, "drop_of_workflow", lambda *_: None)

    assert await fails(clause)


def histories():
    async def history():
        return tuple((await plain().run("x")).outputs)

    return {run_seeded(history, seed) for seed in range(12)}


def test_without_the_canonical_order_schedules_show(monkeypatch):
    """P4: effects merged in the order in which handlers happened to finish."""
    assert len(histories()) == 1
    order, take_over, commit = [], Actor._take_over, tree_module.commit_superstep

    def noted(actor, finished):
        order.append(finished)
        take_over(actor, finished)

    def commit_superstep(graph, snapshot, done, superstep, **more):
        return commit(
            graph, snapshot, sorted(done, key=lambda each: [*map(id, order)].index(id(each))), superstep, **more
        )

    monkeypatch.setattr(Actor, "_take_over", noted)
    monkeypatch.setattr(tree_module, "commit_superstep", commit_superstep)

    assert len(histories()) > 1


def problems(durability="superstep", name="plain"):
    """What the sweep finds wrong."""
    report = played(crash_everywhere, name, durability=durability)
    return " ".join(problem for row in report.broken for problem in row.problems)


def test_without_the_release_of_the_lease_the_sweep_fails(monkeypatch):
    async def keep(_):
        pass

    monkeypatch.setattr(LeaseKeeper, "_release_once", keep)

    assert "the lease is left" in problems()


def test_a_parent_that_is_forgotten_by_a_resume_fails_the_sweep(monkeypatch):
    """P5, F28."""
    parent_in = Standing.parent_in

    async def forgets(standing, storage, definition):
        head, standing.head = standing.head, None
        try:
            return await parent_in(standing, storage, definition)
        finally:
            standing.head = head

    monkeypatch.setattr(Standing, "parent_in", forgets)

    assert "has parent None" in problems()


def test_a_superstep_applied_before_it_is_stored_fails_the_sweep(monkeypatch):
    """P3: when the save fails, what had finished is not kept, because the workflow had gone on."""
    commit_now = Recorder._commit_now

    async def apply_first(recorder, ledger, mark, changes, superstep, *more):
        recorder.standing.snapshot.apply(changes, superstep)
        await commit_now(recorder, ledger, mark, changes, superstep, *more)

    monkeypatch.setattr(Recorder, "_commit_now", apply_first)

    assert "should have been kept" in problems()


@pytest.mark.parametrize("durability", ["superstep", "delivery"])
def test_without_the_journal_the_sweep_fails(durability, monkeypatch):
    """F38."""

    async def skip(*_):
        pass

    monkeypatch.setattr(Journal, "write", skip)

    assert "should have been kept" in problems(durability)


def test_a_journal_that_is_not_read_fails_the_sweep(monkeypatch):
    """F38."""

    async def nothing(*_):
        return []

    monkeypatch.setattr(InMemoryCheckpointStorage, "read_journal", nothing)

    assert "should have been kept" in problems()


class LosesTheLast(CrashableMemory):
    """Says that a checkpoint is stored, and has it in memory only until the next one comes."""

    def snapshot(self):
        copied = super().snapshot()
        records = [*copied._records.values()]
        if len(records) > 1:
            copied._remove(records[-1])
        return copied


def test_a_storage_that_acknowledges_what_it_has_not_stored_fails_the_sweep():
    """P6, F39."""
    report = played(crash_everywhere, "plain", storage=LosesTheLast)

    assert any("told are stored" in problem for row in report.broken for problem in row.problems)

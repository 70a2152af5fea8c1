"""Store chaos (R01): a storage that raises, hangs, delays and comes back at seeded points changes nothing in the end.

And always-rehydrate (R05): dropped after every checkpoint and rebuilt from the bytes, a workflow ends as in one piece. Set
ACTORFLOW_REHYDRATE=1 to play that over every subject in every durability in SQLite, too.
"""

import contextlib
import os

import pytest
import trio

from actorflow import Executor, InMemoryCheckpointStorage, WorkflowBuilder, WorkflowContext, handler
from actorflow.testing import (
    ChaosStorage,
    CrashableMemory,
    CrashableSqlite,
    rehydrate_everywhere,
    run_seeded,
    survive_chaos,
)
from actorflow.testing.storage_conformance import make_commit
from tests.crash_subjects import SUBJECTS, played

every_durability = pytest.mark.parametrize("durability", ["superstep", "async", "exit", "delivery"])
every_subject = pytest.mark.parametrize("name", SUBJECTS)


@every_subject
@every_durability
def test_a_workflow_over_a_chaotic_storage_gets_to_the_same_end(name, durability):
    """R01."""
    report = played(survive_chaos, name, durability=durability, seeds=range(12))

    report.raise_if_broken()
    assert sum(row.fault != "none" for row in report.rows) > 3


@every_durability
def test_a_workflow_over_a_chaotic_file_gets_to_the_same_end(durability):
    """R01."""
    played(survive_chaos, "joined", durability=durability, seeds=range(4), storage=CrashableSqlite).raise_if_broken()


def test_equal_seeds_give_equal_trouble():
    async def provoked():
        storage = ChaosStorage(InMemoryCheckpointStorage(), 5)
        for number in range(30):
            with trio.move_on_after(100):
                with contextlib.suppress(OSError):
                    await storage.save(make_commit(f"{number}"))
        return storage.provoked

    first = run_seeded(provoked, 0)

    assert len(first) == 6
    assert run_seeded(provoked, 1) == first


@every_subject
@every_durability
def test_a_workflow_rebuilt_after_every_checkpoint_ends_as_in_one_piece(name, durability):
    """R05, R17, F17."""
    media = [CrashableMemory, *([CrashableSqlite] if os.environ.get("ACTORFLOW_REHYDRATE") else [])]
    for medium in media:
        report = played(rehydrate_everywhere, name, durability=durability, storage=medium)
        report.raise_if_broken()
        assert int(report.rows[0].operation.split()[1]) >= (1 if durability == "exit" else 2)


def test_a_workflow_rebuilt_from_a_file_ends_as_in_one_piece():
    """R05."""
    played(rehydrate_everywhere, "joined", storage=CrashableSqlite).raise_if_broken()


class Forgetful(Executor):
    """Keeps a count where no checkpoint holds it."""

    count = 0

    @handler
    async def step(self, number: int, ctx: WorkflowContext[int, int]) -> None:
        self.count += 1
        if number:
            ctx.send_message(number - 1)
        else:
            await ctx.yield_output(self.count)


def test_what_is_kept_outside_the_checkpoints_is_found_out():
    def make_workflow():
        builder = WorkflowBuilder(name="forgetful", start_executor=lambda: Forgetful(id="f"))
        return builder.add_edge("f", lambda: Forgetful(id="g")).add_edge("g", "f").build(id="w")

    report = rehydrate_everywhere(make_workflow, 3)

    assert not report.ok
    assert not report.rows[0].same_outputs

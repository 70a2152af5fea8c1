"""Pruning, in transactions of bounded size.

A step looks at so many checkpoints at most, the newest first, and goes on where the last step ended: so whatever stood
on a checkpoint that goes has gone before it, unless it stays, and nothing is rewritten only to be deleted. Between any
two steps the file is as valid as before the first.
"""

from __future__ import annotations

from typing import Any

import apsw
import attrs

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.digests import reseal
from actorflow.checkpoint.pruning import Pruning, standing_alone
from actorflow.checkpoint.records import CheckpointID
from actorflow.checkpoint.sqlite import journal
from actorflow.checkpoint.sqlite.rows import chain_of, drop_unused_run, header_at

__all__ = ["STEP", "PruneStep", "prune_step"]

STEP = 500
"""About so many rows are looked at, written or deleted in one transaction."""

_ALL_BELOW = 2**63 - 1

_NEXT_WORKFLOW = "SELECT key FROM workflow WHERE key > ? AND (?2 IS NULL OR id = ?2) ORDER BY key LIMIT 1"

# The subselect finds the oldest of those that stay; where all stay it finds none, and no row compares with nothing.
_CANDIDATES = """
    SELECT position, id, run, sequence, created_at FROM checkpoint
    WHERE workflow = ?1 AND sequence < ?2
      AND sequence < (SELECT sequence FROM checkpoint WHERE workflow = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?3)
    ORDER BY sequence DESC LIMIT ?4
"""

_CHILDREN = "SELECT position, is_full FROM checkpoint WHERE parent = ?"

_PAYLOAD = "SELECT payload FROM checkpoint WHERE position = ?"

_CUT_OFF = "UPDATE checkpoint SET parent = NULL, derived_from = ?, seal = ? WHERE position = ?"

_CUT_OFF_AND_REWRITE = """
    UPDATE checkpoint SET parent = NULL, derived_from = ?, seal = ?, is_full = TRUE, payload = ? WHERE position = ?
"""


@attrs.frozen
class PruneStep:
    """Where a prune has come to.

    Attributes:
        deleted: How many checkpoints went in the last step.
        workflow: Key of the last workflow id that is done.
        partly: Key of the workflow id it is at, None if the next one is to be begun.
        below: Sequence in that one down to which it is done.
        done: Whether nothing is left to look at.
    """

    deleted: int = 0
    workflow: int = 0
    partly: int | None = None
    below: int = _ALL_BELOW
    done: bool = False


def prune_step(
    connection: apsw.Connection, wanted: Pruning, workflow_id: str | None, since: PruneStep, now: float
) -> PruneStep:
    """Do the next part of a prune."""
    if workflow_id is not None and not commit_rules.is_storable(workflow_id):
        return PruneStep(done=True)
    return _Step(connection, wanted, workflow_id, journal.followed_by_runs(connection, now), STEP).run(since)


@attrs.define(eq=False)
class _Step:
    """One transaction's part of a prune: what it works by, the rows it may still touch, and what it has deleted."""

    connection: apsw.Connection
    wanted: Pruning
    workflow_id: str | None
    kept: set[int]
    left: int
    gone: list[int] = attrs.Factory(list)
    runs: set[int] = attrs.Factory(set)

    def run(self, reached: PruneStep) -> PruneStep:
        while self.left > 0 and not reached.done:
            reached = self._next_workflow(reached) if reached.partly is None else self._go_down(reached)
        journal.drop_following(self.connection, self.gone)
        for run in self.runs:
            drop_unused_run(self.connection, run)
        return attrs.evolve(reached, deleted=len(self.gone))

    def _next_workflow(self, reached: PruneStep) -> PruneStep:
        self.left -= 1
        row = self.connection.execute(_NEXT_WORKFLOW, (reached.workflow, self.workflow_id)).fetchone()
        return attrs.evolve(reached, done=True) if row is None else attrs.evolve(reached, partly=row[0])

    def _go_down(self, reached: PruneStep) -> PruneStep:
        limit = self.left
        rows: list[Any] = self.connection.execute(
            _CANDIDATES, (reached.partly, reached.below, self.wanted.keep - 1, limit)
        ).fetchall()
        for position, checkpoint_id, run, sequence, created in rows:
            self.left -= 1
            if self.wanted.takes_age(created) and position not in self.kept:
                self._take(position, checkpoint_id, run)
            reached = attrs.evolve(reached, below=sequence)
            if self.left <= 0:
                return reached
        assert reached.partly is not None
        return PruneStep(workflow=reached.partly)

    def _take(self, position: int, checkpoint_id: CheckpointID, run: int) -> None:
        children: list[Any] = self.connection.execute(_CHILDREN, (position,)).fetchall()
        for child, is_full in children:
            self._cut_off(child, is_full, checkpoint_id)
        self.connection.execute("DELETE FROM checkpoint WHERE position = ?", (position,))
        self.left -= len(children)
        self.gone.append(position)
        self.runs.add(run)

    def _cut_off(self, child: int, is_full: bool, parent_id: CheckpointID) -> None:
        info = attrs.evolve(header_at(self.connection, child), parent_id=None, derived_from=parent_id)
        if is_full:
            ((payload,),) = self.connection.execute(_PAYLOAD, (child,))
            self.connection.execute(_CUT_OFF, (parent_id, reseal(info, payload, full=True), child))
            return
        payload = standing_alone(info.id, chain_of(self.connection, child))
        seal = reseal(info, payload, full=True)
        self.connection.execute(_CUT_OFF_AND_REWRITE, (parent_id, seal, payload, child))

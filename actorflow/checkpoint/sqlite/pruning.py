"""The rows that a prune of an SQLite file looks at, rewrites and deletes; see `actorflow.checkpoint.prune_walk`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import attrs

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.digests import reseal
from actorflow.checkpoint.prune_walk import STEP, Candidate, PruneStep, walk
from actorflow.checkpoint.pruning import Pruning, standing_alone
from actorflow.checkpoint.records import CheckpointID
from actorflow.checkpoint.sqlite import journal
from actorflow.checkpoint.sqlite.rows import chain_of, drop_unused_run, header_at

__all__ = ["STEP", "PruneStep", "prune_step"]

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


def prune_step(
    connection: apsw.Connection, wanted: Pruning, workflow_id: str | None, since: PruneStep, now: float
) -> PruneStep:
    """Do the next part of a prune."""
    if workflow_id is not None and not commit_rules.is_storable(workflow_id):
        return PruneStep(done=True)
    kept = journal.followed_by_runs(connection, now)
    return walk(_Rows(connection, workflow_id), wanted, kept, since, STEP)


@attrs.frozen
class _Rows:
    connection: apsw.Connection
    workflow_id: str | None

    def next_workflow(self, after: int) -> int | None:
        row = self.connection.execute(_NEXT_WORKFLOW, (after, self.workflow_id)).fetchone()
        return None if row is None else int(row[0])

    def candidates(self, workflow: int, below: int, keep: int, limit: int) -> Sequence[Candidate]:
        found: list[Any] = self.connection.execute(_CANDIDATES, (workflow, below, keep - 1, limit)).fetchall()
        return [Candidate(*row) for row in found]

    def take(self, candidate: Candidate) -> int:
        children: list[Any] = self.connection.execute(_CHILDREN, (candidate.position,)).fetchall()
        for child, is_full in children:
            self._cut_off(child, is_full, CheckpointID(candidate.id))
        self.connection.execute("DELETE FROM checkpoint WHERE position = ?", (candidate.position,))
        return len(children)

    def forget(self, positions: Sequence[int], runs: Iterable[int]) -> None:
        journal.drop_following(self.connection, positions)
        for run in runs:
            drop_unused_run(self.connection, run)

    def _cut_off(self, child: int, is_full: bool, parent_id: CheckpointID) -> None:
        info = attrs.evolve(header_at(self.connection, child), parent_id=None, derived_from=parent_id)
        if is_full:
            ((payload,),) = self.connection.execute(_PAYLOAD, (child,))
            self.connection.execute(_CUT_OFF, (parent_id, reseal(info, payload, full=True), child))
            return
        payload = standing_alone(info.id, chain_of(self.connection, child))
        seal = reseal(info, payload, full=True)
        self.connection.execute(_CUT_OFF_AND_REWRITE, (parent_id, seal, payload, child))

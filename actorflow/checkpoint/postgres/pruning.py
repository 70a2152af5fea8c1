"""The rows that a prune of a PostgreSQL schema looks at, rewrites and deletes; see `actorflow.checkpoint.prune_walk`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import psycopg

from actorflow.checkpoint import commit_rules
from actorflow.checkpoint.digests import reseal
from actorflow.checkpoint.postgres import journal
from actorflow.checkpoint.postgres.rows import chain_of, drop_unused_run, header_at
from actorflow.checkpoint.prune_walk import STEP, Candidate, PruneStep, walk
from actorflow.checkpoint.pruning import Pruning, standing_alone
from actorflow.checkpoint.records import CheckpointID

__all__ = ["prune_step"]

_NEXT_WORKFLOW = """
    SELECT key FROM workflow WHERE key > %s AND (%s::bytea IS NULL OR id = %s) ORDER BY key LIMIT 1
"""

# The subselect finds the oldest of those that stay; where all stay it finds none, and no row compares with nothing.
_CANDIDATES = """
    SELECT position, id, run, sequence, created_at FROM checkpoint
    WHERE workflow = %(workflow)s AND sequence < %(below)s
      AND sequence < (
          SELECT sequence FROM checkpoint WHERE workflow = %(workflow)s ORDER BY sequence DESC LIMIT 1 OFFSET %(stay)s
      )
    ORDER BY sequence DESC LIMIT %(limit)s
"""

_CHILDREN = "SELECT position, is_full FROM checkpoint WHERE parent = %s ORDER BY position FOR UPDATE"

_PAYLOAD = """
    SELECT octet_length(payload), CASE WHEN octet_length(payload) <= %s THEN payload END FROM checkpoint WHERE position = %s
"""

_CUT_OFF = "UPDATE checkpoint SET parent = NULL, derived_from = %s, seal = %s WHERE position = %s"

_CUT_OFF_AND_REWRITE = """
    UPDATE checkpoint SET parent = NULL, derived_from = %s, seal = %s, is_full = TRUE, payload = %s WHERE position = %s
"""


def prune_step(
    connection: psycopg.Connection,
    wanted: Pruning,
    workflow_id: str | None,
    since: PruneStep,
    *,
    max_payload: int,
    now: float | None,
) -> PruneStep:
    """Do the next part of a prune."""
    if workflow_id is not None and not commit_rules.is_storable(workflow_id):
        return PruneStep(done=True)
    kept = journal.followed_by_runs(connection, now)
    rows = _Rows(connection, None if workflow_id is None else workflow_id.encode(), max_payload)
    return walk(rows, wanted, kept, since, STEP)


@attrs.frozen
class _Rows:
    connection: psycopg.Connection
    workflow_id: bytes | None
    max_payload: int

    def next_workflow(self, after: int) -> int | None:
        row = self.connection.execute(_NEXT_WORKFLOW, (after, self.workflow_id, self.workflow_id)).fetchone()
        return None if row is None else int(row[0])

    def candidates(self, workflow: int, below: int, keep: int, limit: int) -> Sequence[Candidate]:
        # Nobody writes a delta onto what is being rewritten; prunes lock the workflow ids in the same order.
        self.connection.execute("SELECT FROM workflow WHERE key = %s FOR UPDATE", (workflow,))
        wanted = {"workflow": workflow, "below": below, "stay": min(keep - 1, 2**63 - 1), "limit": limit}
        found: list[Any] = self.connection.execute(_CANDIDATES, wanted).fetchall()
        return [Candidate(position, name.decode(), *rest) for position, name, *rest in found]

    def take(self, candidate: Candidate) -> int:
        children: list[Any] = self.connection.execute(_CHILDREN, (candidate.position,)).fetchall()
        for child, is_full in children:
            self._cut_off(child, is_full, CheckpointID(candidate.id))
        self.connection.execute("DELETE FROM checkpoint WHERE position = %s", (candidate.position,))
        return len(children)

    def forget(self, positions: Sequence[int], runs: Iterable[int]) -> None:
        journal.drop_following(self.connection, positions)
        for run in sorted(runs):
            drop_unused_run(self.connection, run)

    def _cut_off(self, child: int, is_full: bool, parent_id: CheckpointID) -> None:
        info = attrs.evolve(header_at(self.connection, child), parent_id=None, derived_from=parent_id)
        name = parent_id.encode()
        if is_full:
            row: Any = self.connection.execute(_PAYLOAD, (self.max_payload, child), binary=True).fetchone()
            size, payload = row
            commit_rules.refuse_stored(f"checkpoint {info.id!r}", size, self.max_payload)
            self.connection.execute(_CUT_OFF, (name, reseal(info, payload, full=True), child))
            return
        payload = standing_alone(info.id, chain_of(self.connection, info.id, self.max_payload))
        commit_rules.check_payload(f"checkpoint {info.id!r}", payload, self.max_payload)
        self.connection.execute(_CUT_OFF_AND_REWRITE, (name, reseal(info, payload, full=True), payload, child))

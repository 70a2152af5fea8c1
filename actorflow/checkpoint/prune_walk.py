"""The walk of a prune over the rows of a relational storage, in transactions of bounded size.

A step looks at so many checkpoints at most, the newest first, and goes on where the last step ended: so whatever stood
on a checkpoint that goes has gone before it, unless it stays, and nothing is rewritten only to be deleted. Between any
two steps the storage is as valid as before the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from actorflow.checkpoint.pruning import Pruning

__all__ = ["STEP", "Candidate", "PruneRows", "PruneStep", "walk"]

STEP = 500
"""About so many rows are looked at, written or deleted in one transaction."""

_ALL_BELOW = 2**63 - 1


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


@attrs.frozen
class Candidate:
    """A checkpoint that is not among those a prune keeps for being new.

    Attributes:
        position: Its key.
        id: Its id.
        run: Key of its run.
        sequence: Its place in the sequence of its workflow id.
        created_at: When it was made, in microseconds since 1970 UTC.
    """

    position: int
    id: str
    run: int
    sequence: int
    created_at: int


class PruneRows(Protocol):
    """The rows of one transaction, as a prune sees them."""

    def next_workflow(self, after: int) -> int | None:
        """The next key of a workflow id to be looked at."""
        ...

    def candidates(self, workflow: int, below: int, keep: int, limit: int) -> Sequence[Candidate]:
        """Checkpoints below a sequence, without so many newest of the workflow id; newest first."""
        ...

    def take(self, candidate: Candidate) -> int:
        """Delete one, and let those that stand on it stand alone; returns how many those were."""
        ...

    def forget(self, positions: Sequence[int], runs: Iterable[int]) -> None:
        """Delete the journals that follow what has gone, and the runs that have no checkpoint any more."""
        ...


def walk(rows: PruneRows, wanted: Pruning, kept: set[int], reached: PruneStep, step: int = STEP) -> PruneStep:
    """Do the next part of a prune.

    Args:
        rows: What it works on.
        wanted: What it takes.
        kept: Positions of the checkpoints that running supersteps follow.
        reached: Where the last part ended.
        step: About so many rows are touched.
    """
    return _Walk(rows, wanted, kept, step).run(reached)


@attrs.define(eq=False)
class _Walk:
    rows: PruneRows
    wanted: Pruning
    kept: set[int]
    left: int
    gone: list[Candidate] = attrs.Factory(list)

    def run(self, reached: PruneStep) -> PruneStep:
        while self.left > 0 and not reached.done:
            reached = self._next_workflow(reached) if reached.partly is None else self._go_down(reached)
        self.rows.forget([one.position for one in self.gone], {one.run for one in self.gone})
        return attrs.evolve(reached, deleted=len(self.gone))

    def _next_workflow(self, reached: PruneStep) -> PruneStep:
        self.left -= 1
        workflow = self.rows.next_workflow(reached.workflow)
        return attrs.evolve(reached, done=True) if workflow is None else attrs.evolve(reached, partly=workflow)

    def _go_down(self, reached: PruneStep) -> PruneStep:
        workflow = reached.partly
        assert workflow is not None
        for candidate in self.rows.candidates(workflow, reached.below, self.wanted.keep, self.left):
            self.left -= 1
            if self.wanted.takes_age(candidate.created_at) and candidate.position not in self.kept:
                self.left -= self.rows.take(candidate)
                self.gone.append(candidate)
            reached = attrs.evolve(reached, below=candidate.sequence)
            if self.left <= 0:
                return reached
        return PruneStep(workflow=workflow)

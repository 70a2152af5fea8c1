"""Commits and random histories to try a storage with, and a plain-dict model of what it must give back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import attrs

from actorflow.checkpoint.deltas import pack_delta
from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.records import (
    CheckpointID,
    CheckpointInfo,
    CheckpointKind,
    Commit,
    Delta,
    JournalEntry,
    Lease,
)

__all__ = ["Expected", "RandomHistory", "make_commit", "make_entry"]

_START = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)


def make_commit(
    checkpoint_id: str,
    parent_id: str | None = None,
    *,
    workflow_id: str = "workflow",
    changed: Mapping[str, bytes] | None = None,
    removed: tuple[str, ...] = (),
    cleared: tuple[str, ...] = (),
    full: bool | None = None,
    workflow_name: str = "conformance",
    run_id: str = "run",
    created_at: datetime = _START,
    lease: Lease | None = None,
) -> Commit:
    """Make a commit with sensible values for all that a test does not care about.

    Args:
        checkpoint_id: Its id.
        parent_id: Its parent.
        workflow_id: Its workflow id.
        changed: Its sections; by default one, ``state/last``, that holds the checkpoint's own id.
        removed: Section keys it removes.
        cleared: Prefixes it clears.
        full: Whether it stands alone; by default it does if it has no parent.
        workflow_name: Name of its definition.
        run_id: Its run.
        created_at: Its time of day.
        lease: The lease it is written under.
    """
    is_full = parent_id is None if full is None else full
    sections = {"state/last": checkpoint_id.encode("utf-8", "surrogatepass")} if changed is None else changed
    info = CheckpointInfo(
        id=CheckpointID(checkpoint_id),
        parent_id=None if parent_id is None else CheckpointID(parent_id),
        workflow_name=workflow_name,
        workflow_id=workflow_id,
        run_id=run_id,
        superstep=1,
        kind=CheckpointKind.SUPERSTEP,
        graph_signature="signature",
        created_at=created_at,
    )
    delta = Delta(changed=sections, removed=removed, cleared=cleared, full=is_full)
    return Commit(info=info, payload=pack_delta(delta), full=is_full, lease=lease)


def make_entry(
    index: int, checkpoint_id: str | None = None, *, workflow_id: str = "workflow", payload: bytes | None = None
) -> JournalEntry:
    """Make a journal entry.

    Args:
        index: Its place.
        checkpoint_id: What its superstep follows.
        workflow_id: Its workflow id.
        payload: What it holds; by default its index as text.
    """
    return JournalEntry(
        workflow_id=workflow_id,
        checkpoint_id=None if checkpoint_id is None else CheckpointID(checkpoint_id),
        index=index,
        payload=b"%d" % index if payload is None else payload,
    )


@attrs.frozen
class Expected:
    """What a storage must hold for one commit.

    Attributes:
        info: The header, with its sequence and digest.
        contents: The contents.
        position: Its place in the order of writing.
    """

    info: CheckpointInfo
    contents: Mapping[str, bytes]
    position: int


@attrs.define(eq=False)
class RandomHistory:
    """Random commits: roots, steps, time travel and branches over a few workflow ids, with full and partial deltas.

    The times of day run backwards, so that a storage that goes by them is found out.

    Attributes:
        seed: Equal seeds make equal histories.
        expected: What the storage must hold after every commit made so far was saved, by id, in order of writing.
    """

    seed: int
    expected: dict[str, Expected] = attrs.field(factory=dict, init=False)
    _draw: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._draw = random.Random(self.seed)  # noqa: S311  # to be repeatable is the point

    def next_commit(self) -> Commit:
        """Make the next commit and note what the storage must hold once it is saved."""
        workflow_id = self._draw.choice(("red", "green", "blue"))
        parent = self._choose_parent()
        full = parent is None or parent.info.workflow_id != workflow_id or self._draw.random() < 0.1
        base = dict(parent.contents) if parent else {}
        commit, contents = self._commit(workflow_id, parent, full, base)
        info = attrs.evolve(commit.info, sequence=1 + len(self.of_workflow(workflow_id)))
        info = chained(info, commit.payload, commit.full, parent.info.digest if parent else "")
        self.expected[info.id] = Expected(info, contents, len(self.expected))
        return commit

    def of_workflow(self, workflow_id: str) -> list[Expected]:
        """What is expected of one workflow id, in order of writing."""
        return [one for one in self.expected.values() if one.info.workflow_id == workflow_id]

    def lineage(self, checkpoint_id: str) -> list[CheckpointInfo]:
        """The headers from a checkpoint to its root."""
        line = [self.expected[checkpoint_id].info]
        while line[-1].parent_id is not None:
            line.append(self.expected[line[-1].parent_id].info)
        return line

    def _choose_parent(self) -> Expected | None:
        everything = list(self.expected.values())
        if not everything or self._draw.random() < 0.05:
            return None
        return everything[-1] if self._draw.random() < 0.5 else self._draw.choice(everything)

    def _commit(
        self, workflow_id: str, parent: Expected | None, full: bool, base: dict[str, bytes]
    ) -> tuple[Commit, dict[str, bytes]]:
        number = len(self.expected)
        cleared = ("outputs/",) if self._draw.random() < 0.2 else ()
        removed = tuple(key for key in base if self._draw.random() < 0.1)
        keys = self._draw.sample([f"{kind}/{n}" for kind in ("state", "outputs") for n in range(5)], 3)
        changed = {key: self._draw.randbytes(self._draw.randrange(40)) for key in keys}
        contents = {k: v for k, v in base.items() if k not in removed and not k.startswith(cleared)} | changed
        commit = make_commit(
            f"{self.seed}-{number}",
            parent.info.id if parent else None,
            workflow_id=workflow_id,
            changed=contents if full else changed,
            removed=() if full else removed,
            cleared=() if full else cleared,
            full=full,
            workflow_name=self._draw.choice(("first", "second")),
            run_id=f"run-{number // 4}",
            created_at=_START - timedelta(seconds=number),
        )
        return commit, contents

"""Checkpoints in memory: for tests, and for programs that need lineage but not durability."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Iterable, Iterator

import attrs
import trio

from actorflow.checkpoint import rules
from actorflow.checkpoint.chain import merge, unpack_delta
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit

__all__ = ["InMemoryCheckpointStorage"]

_PLACE = "this in-memory storage"


@attrs.frozen
class _Record:
    position: int
    info: CheckpointInfo
    payload: bytes
    full: bool


class InMemoryCheckpointStorage:
    """A `CheckpointStorage` that keeps its records as long as the object lives.

    It holds the same bytes a durable storage would, and takes them apart anew on every load, so that nothing a caller
    does to what it got can change what the next caller gets (F33). Every verb is one checkpoint of trio, before it
    changes anything.
    """

    def __init__(self) -> None:
        self._positions = itertools.count(1)
        self._records: dict[str, _Record] = {}  # in order of writing, as are the two below
        self._workflows: dict[str, dict[str, _Record]] = {}
        self._children: dict[str, dict[str, _Record]] = {}

    def __repr__(self) -> str:
        return f"<InMemoryCheckpointStorage with {len(self._records)} checkpoints>"

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Write one checkpoint; see `CheckpointStorage.save`."""
        await trio.lowlevel.checkpoint()
        rules.check_commit(commit)
        existing = self._records.get(commit.info.id)
        if existing is not None:
            rules.check_same(existing.info, commit, _PLACE)
            return existing.info
        rules.check_parent(commit, self._workflow_of(commit.info.parent_id), _PLACE)
        return self._insert(commit)

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents; see `CheckpointStorage.load`."""
        await trio.lowlevel.checkpoint()
        return self._with_contents(self._find(checkpoint_id))

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read the checkpoint with the highest sequence; see `CheckpointStorage.latest`."""
        await trio.lowlevel.checkpoint()
        records = self._workflows.get(workflow_id)
        return self._with_contents(_newest(records)) if records else None

    async def list(
        self,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        limit: int | None = None,
        before: CheckpointID | str | None = None,
    ) -> list[CheckpointInfo]:
        """Headers, newest first; see `CheckpointStorage.list`."""
        rules.check_limit(limit)
        await trio.lowlevel.checkpoint()
        end = None if before is None else self._find(before).position
        records = self._records if workflow_id is None else self._workflows.get(workflow_id, {})
        found = (
            record.info
            for record in reversed(records.values())
            if (end is None or record.position < end)
            and (workflow_name is None or record.info.workflow_name == workflow_name)
        )
        return [*itertools.islice(found, limit)]

    async def lineage(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers from this checkpoint to its root; see `CheckpointStorage.lineage`."""
        await trio.lowlevel.checkpoint()
        return [record.info for record in self._ancestry(self._find(checkpoint_id))]

    async def children(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers of the children, oldest first; see `CheckpointStorage.children`."""
        await trio.lowlevel.checkpoint()
        return [record.info for record in self._children.get(self._find(checkpoint_id).info.id, {}).values()]

    async def delete(self, checkpoint_id: CheckpointID | str) -> None:
        """Delete a leaf; see `CheckpointStorage.delete`."""
        await trio.lowlevel.checkpoint()
        info = self._find(checkpoint_id).info
        for child_id in self._children.get(info.id, {}):
            raise rules.has_children(info.id, child_id, _PLACE)
        del self._records[info.id]
        _drop(self._workflows, info.workflow_id, info.id)
        if info.parent_id is not None:
            _drop(self._children, info.parent_id, info.id)

    def _insert(self, commit: Commit) -> CheckpointInfo:
        given = commit.info
        siblings = self._workflows.setdefault(given.workflow_id, {})
        sequence = _newest(siblings).info.sequence + 1 if siblings else 1
        info = attrs.evolve(given, sequence=sequence)
        record = _Record(next(self._positions), info, commit.payload, commit.full)
        self._records[info.id] = siblings[info.id] = record
        if info.parent_id is not None:
            self._children.setdefault(info.parent_id, {})[info.id] = record
        return info

    def _find(self, checkpoint_id: CheckpointID | str) -> _Record:
        record = self._records.get(checkpoint_id)
        if record is None:
            raise rules.not_found(checkpoint_id, _PLACE)
        return record

    def _workflow_of(self, checkpoint_id: CheckpointID | None) -> str | None:
        record = self._records.get(checkpoint_id) if checkpoint_id is not None else None
        return record.info.workflow_id if record else None

    def _ancestry(self, record: _Record) -> Iterator[_Record]:
        yield record
        while record.info.parent_id is not None:
            record = self._records[record.info.parent_id]
            yield record

    def _with_contents(self, record: _Record) -> Checkpoint:
        chain = [unpack_delta(link.payload, link.full) for link in _to_full(self._ancestry(record))]
        return Checkpoint(**attrs.asdict(record.info, recurse=False), contents=merge(reversed(chain)))


def _newest(records: dict[str, _Record]) -> _Record:
    return next(reversed(records.values()))


def _to_full(ancestry: Iterable[_Record]) -> Iterator[_Record]:
    for record in ancestry:
        yield record
        if record.full:
            return


def _drop(index: dict[str, dict[str, _Record]], key: str, checkpoint_id: str) -> None:
    del index[key][checkpoint_id]
    if not index[key]:
        del index[key]

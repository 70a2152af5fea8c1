"""Checkpoints in memory: for tests, and for programs that need lineage but not durability."""

from __future__ import annotations

import bisect
import builtins
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

import attrs
import trio

from actorflow.checkpoint import commit_rules, lease_rules
from actorflow.checkpoint.deltas import merge, unpack_delta
from actorflow.checkpoint.digests import chained, reseal
from actorflow.checkpoint.memory.journal import Journal
from actorflow.checkpoint.memory.leases import Leases
from actorflow.checkpoint.pruning import Pruning, standing_alone
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit, JournalEntry, Lease
from actorflow.checkpoint.stored_rows import (
    MOST_ORPHANS,
    Finding,
    StoredParent,
    StoredRow,
    orphaned_entry,
    orphaned_lease,
    page_of,
)
from actorflow.checkpoint.tools import StorageTools
from actorflow.clock import microseconds, wall_time

__all__ = ["InMemoryCheckpointStorage"]

_PLACE = "this in-memory storage"


@attrs.frozen
class _Record:
    position: int
    info: CheckpointInfo
    payload: bytes
    full: bool
    seal: bytes | None = None  # of what was rewritten


class InMemoryCheckpointStorage(StorageTools):
    """A `CheckpointStorage` that keeps its records as long as the object lives.

    It holds the same bytes a durable storage would, and takes them apart anew on every load, so that nothing a caller
    does to what it got can change what the next caller gets. Every verb is one checkpoint of trio, before it
    changes anything.

    Args:
        lease_ttl: Seconds after which a lease that is not renewed may be overtaken.
        lease_renewal: Seconds between renewals of a lease while its run lasts; a third of `lease_ttl` if None.
        max_payload: Bytes that one checkpoint, or one entry of the journal, may take; more is refused when it is saved. A
            full checkpoint holds the whole state, so that has to fit.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        *,
        lease_ttl: float = 30.0,
        lease_renewal: float | None = None,
        max_payload: int = commit_rules.MAX_PAYLOAD,
    ) -> None:
        lease_rules.check_ttl(lease_ttl)
        lease_rules.check_renewal(lease_renewal, lease_ttl)
        commit_rules.check_max_payload(max_payload)
        self._max_payload = max_payload
        self._position = 0
        self._records: dict[str, _Record] = {}  # in order of writing, as are the two below
        self._workflows: dict[str, dict[str, _Record]] = {}
        self._children: dict[str, dict[str, _Record]] = {}
        self._leases = Leases(float(lease_ttl), lease_renewal)
        self._journal = Journal()

    def __repr__(self) -> str:
        return f"<InMemoryCheckpointStorage with {len(self._records)} checkpoints>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open here; it is for programs that close whatever storage they were given. The records stay."""

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Write one checkpoint; see `CheckpointStorage.save`."""
        await trio.lowlevel.checkpoint()
        commit_rules.check_commit(commit)
        commit_rules.check_size(commit, self._max_payload)
        overtakes = self._leases.check_may_write(commit.info.workflow_id, commit.lease, wall_time())
        existing = self._records.get(commit.info.id)
        if existing is not None:
            commit_rules.check_same(existing.info, commit, _PLACE)
            return existing.info
        commit_rules.check_parent(commit, self._workflow_of(commit.info.parent_id), _PLACE)
        if overtakes:
            self._leases.end(commit.info.workflow_id)
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
        commit_rules.check_limit(limit)
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
        record = self._find(checkpoint_id)
        for child_id in self._children.get(record.info.id, {}):
            raise commit_rules.has_children(record.info.id, child_id, _PLACE)
        self._remove(record)
        self._journal.drop_following({record.info.id})

    async def prune(
        self, *, workflow_id: str | None = None, keep_last: int | None = None, older_than: timedelta | None = None
    ) -> int:
        """Delete old checkpoints, in one step; see `CheckpointStorage.prune`."""
        wanted = Pruning.asked(keep_last, older_than)
        await trio.lowlevel.checkpoint()
        running = self._leases.live(wall_time())
        kept = {followed for name in running for followed in self._journal.followed(name)}
        names = [*self._workflows] if workflow_id is None else [workflow_id]
        return sum(self._prune_workflow(name, wanted, kept) for name in names)

    async def acquire_lease(self, workflow_id: str, *, owner: str) -> Lease:
        """Take the lease of a workflow id; see `CheckpointStorage.acquire_lease`."""
        lease_rules.check_request(workflow_id, owner)
        await trio.lowlevel.checkpoint()
        return self._leases.acquire(workflow_id, owner, wall_time())

    async def renew_lease(self, lease: Lease) -> None:
        """Let a lease last from now on; see `CheckpointStorage.renew_lease`."""
        await trio.lowlevel.checkpoint()
        self._leases.renew(lease, wall_time())

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back; see `CheckpointStorage.release_lease`."""
        await trio.lowlevel.checkpoint()
        self._leases.release(lease)

    async def write_journal(self, entries: Sequence[JournalEntry], *, lease: Lease | None = None) -> None:
        """Write entries of the journal, all or none; see `CheckpointStorage.write_journal`."""
        await trio.lowlevel.checkpoint()
        commit_rules.check_entries(entries, lease)
        commit_rules.check_entry_sizes(entries, self._max_payload)
        names = {entry.workflow_id for entry in entries}
        overtaken = [name for name in names if self._leases.check_may_write(name, lease, wall_time())]
        for entry in entries:
            if entry.checkpoint_id is not None and entry.checkpoint_id not in self._records:
                raise commit_rules.unknown_head(entry, _PLACE)
        for name in overtaken:
            self._leases.end(name)
        self._journal.write(entries)

    async def read_journal(
        self, workflow_id: str, checkpoint_id: CheckpointID | str | None
    ) -> builtins.list[JournalEntry]:
        """Entries of the superstep after a checkpoint; see `CheckpointStorage.read_journal`."""
        await trio.lowlevel.checkpoint()
        return self._journal.read(workflow_id, checkpoint_id)

    async def read_rows(
        self, after: int = 0, limit: int = 100, *, workflow_id: str | None = None
    ) -> builtins.list[StoredRow]:
        """A page of what is stored; see `CheckpointStorage.read_rows`."""
        commit_rules.check_limit(limit)
        await trio.lowlevel.checkpoint()
        records = self._records if workflow_id is None else self._workflows.get(workflow_id, {})
        ordered = [*records.values()]
        start = bisect.bisect_right(ordered, after, key=lambda record: record.position)
        return page_of((self._row(each) for each in itertools.islice(ordered, start, None)), limit)

    async def inspect(self) -> builtins.list[Finding]:
        """Look for orphans in the journal and among the leases; see `CheckpointStorage.inspect`."""
        await trio.lowlevel.checkpoint()
        orphans = itertools.islice(self._journal.orphans(self._records), MOST_ORPHANS)
        over = itertools.islice(self._leases.over(self._workflows, wall_time()), MOST_ORPHANS)
        return [
            *(orphaned_entry(each.workflow_id, each.index, repr(each.checkpoint_id)) for each in orphans),
            *(orphaned_lease(each.workflow_id, each.owner) for each in over),
        ]

    def _row(self, record: _Record) -> StoredRow:
        info, fault = record.info, commit_rules.payload_fault(len(record.payload), self._max_payload)
        return StoredRow(
            position=record.position,
            checkpoint_id=info.id,
            workflow_id=info.workflow_id,
            info=None if fault else info,
            damage=fault,
            payload=b"" if fault else record.payload,
            full=record.full,
            seal=record.seal,
            refers_to=None if info.parent_id is None else repr(info.parent_id),
            parent=_as_parent(self._records.get(info.parent_id or "")),
        )

    def _insert(self, commit: Commit) -> CheckpointInfo:
        given = commit.info
        siblings = self._workflows.setdefault(given.workflow_id, {})
        sequence = _newest(siblings).info.sequence + 1 if siblings else 1
        parent = self._records.get(given.parent_id) if given.parent_id is not None else None
        digest = parent.info.digest if parent else ""
        info = chained(given, commit.payload, commit.full, digest, sequence)
        self._position += 1
        record = _Record(self._position, info, commit.payload, commit.full)
        self._records[info.id] = siblings[info.id] = record
        if info.parent_id is not None:
            self._children.setdefault(info.parent_id, {})[info.id] = record
        self._journal.drop_of_workflow(info.workflow_id)
        return info

    def _remove(self, record: _Record) -> None:
        info = record.info
        del self._records[info.id]
        _drop(self._workflows, info.workflow_id, info.id)
        if info.parent_id is not None:
            _drop(self._children, info.parent_id, info.id)

    def _prune_workflow(self, workflow_id: str, wanted: Pruning, kept: set[str]) -> int:
        records = [*self._workflows.get(workflow_id, {}).values()][: -wanted.keep]
        doomed = [
            record
            for record in reversed(records)  # so that what stands on one that goes has gone before, or stays
            if record.info.id not in kept and wanted.takes_age(microseconds(record.info.created_at))
        ]
        for record in doomed:
            for child in [*self._children.get(record.info.id, {}).values()]:
                self._cut_off(child)
            self._remove(record)
        self._journal.drop_following({record.info.id for record in doomed})
        return len(doomed)

    def _cut_off(self, child: _Record) -> None:
        """Let a checkpoint stand alone, and tell of its parent as of something that is not here."""
        info, parent_id = child.info, child.info.parent_id
        assert parent_id is not None
        chain = [(link.payload, link.full) for link in _to_full(self._ancestry(child))]
        payload = child.payload if child.full else standing_alone(info.id, reversed(chain))
        info = attrs.evolve(info, parent_id=None, derived_from=parent_id)
        record = _Record(child.position, info, payload, full=True, seal=reseal(info, payload, full=True))
        self._records[info.id] = self._workflows[info.workflow_id][info.id] = record
        _drop(self._children, parent_id, info.id)

    def _find(self, checkpoint_id: CheckpointID | str) -> _Record:
        record = self._records.get(checkpoint_id)
        if record is None:
            raise commit_rules.not_found(checkpoint_id, _PLACE)
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


def _as_parent(record: _Record | None) -> StoredParent | None:
    if record is None:
        return None
    info = record.info
    return StoredParent(position=record.position, workflow_id=info.workflow_id, digest=info.digest)


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

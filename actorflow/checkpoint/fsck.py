"""Whether what a storage holds is what was written: one walk over its rows, a page at a time.

Each row is judged by itself and by the row it names as its parent, which the storage reads in the same moment. So the walk
needs no more memory than a page and one number per workflow id, may go on for hours beside writers and prunes, and can be
cancelled between any two pages. That every chain leads to a full payload follows: a parent is written before its child, so
there are no circles, and each row either stands alone or stands on one that was found sound.

One damage is one finding: what is wrong with a row is told once, by the most telling name, and a child whose digest cannot
be right because its parent is damaged is not accused. `seal` and `digest` are explained in `actorflow.checkpoint.digests`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from actorflow.checkpoint.deltas import unpack_delta
from actorflow.checkpoint.digests import digest_of, reseal, seal_of
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo
from actorflow.checkpoint.stored_rows import Finding, StoredRow
from actorflow.errors import CheckpointError, CheckpointNotFoundError

__all__ = ["FsckReport", "Inspectable", "fsck"]

PAGE = 100
"""Rows read at a time."""

MOST_FINDINGS = 1000
"""So many findings are kept; of the others a report says how many there were."""


@attrs.frozen(kw_only=True)
class FsckReport:
    """What `fsck` looked at and what it found.

    Attributes:
        checkpoints: How many checkpoints there are.
        workflows: How many workflow ids they belong to.
        bytes: Size of their payloads.
        findings: What is wrong, in order of writing; at most a thousand.
        omitted: How many findings there were beyond those.
    """

    checkpoints: int
    workflows: int
    bytes: int
    findings: tuple[Finding, ...]
    omitted: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def __str__(self) -> str:
        wrong = len(self.findings) + self.omitted
        head = f"{self.checkpoints} checkpoints of {self.workflows} workflows, {self.bytes} bytes: {wrong or 'no'} findings"
        more = [f"and {self.omitted} more"] if self.omitted else []
        return "\n".join([head, *(f"  {finding}" for finding in self.findings), *more])


class Inspectable(Protocol):
    """The verbs of a storage that `fsck` needs; see `CheckpointStorage`."""

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read one checkpoint with its contents."""
        ...

    async def read_rows(self, after: int = 0, limit: int = 100, *, workflow_id: str | None = None) -> list[StoredRow]:
        """Read a page of rows."""
        ...

    async def inspect(self) -> list[Finding]:
        """Look at what is no row of a checkpoint."""
        ...


async def fsck(
    storage: Inspectable,
    *,
    workflow_id: str | None = None,
    check: Callable[[Checkpoint], object] | None = None,
    deep: bool = False,
) -> FsckReport:
    """See `actorflow.storage.StorageTools.fsck`."""
    walk = _Walk(storage, workflow_id)
    if workflow_id is None:
        for finding in await storage.inspect():
            walk.found(finding)
    await walk.over_rows(check if deep else None)
    if check is not None and not deep:
        await walk.over_latest(check)
    return walk.report()


@attrs.define(eq=False)
class _Newest:
    """The newest sound checkpoint of a workflow id that the walk has met, and whether a damaged one followed."""

    sequence: int = 0
    position: int = 0
    checkpoint_id: CheckpointID | None = None
    is_latest: bool = False


@attrs.define(eq=False)
class _Walk:
    storage: Inspectable
    workflow_id: str | None
    checkpoints: int = 0
    bytes: int = 0
    digests_began: bool = False
    newest: dict[str, _Newest] = attrs.Factory(dict)
    damaged: set[int] = attrs.Factory(set)
    findings: list[Finding] = attrs.Factory(list)
    omitted: int = 0

    def found(self, finding: Finding) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)
        else:
            self.omitted += 1

    def report(self) -> FsckReport:
        return FsckReport(
            checkpoints=self.checkpoints,
            workflows=len(self.newest),
            bytes=self.bytes,
            findings=tuple(self.findings),
            omitted=self.omitted,
        )

    async def over_rows(self, check: Callable[[Checkpoint], object] | None) -> None:
        after = 0
        while rows := await self._page(after):
            for row in rows:
                self.checkpoints += 1
                self.bytes += len(row.payload)
                is_sound = await self._is_sound(row)
                if is_sound and check is not None and row.info is not None:
                    await self._check(row.info.id, row.workflow_id, check)
            after = rows[-1].position

    async def over_latest(self, check: Callable[[Checkpoint], object]) -> None:
        for workflow_id, newest in self.newest.items():
            if newest.is_latest and newest.checkpoint_id is not None:
                await self._check(newest.checkpoint_id, workflow_id, check)

    async def _page(self, after: int) -> list[StoredRow]:
        try:
            return await self.storage.read_rows(after, PAGE, workflow_id=self.workflow_id)
        except CheckpointError as error:
            if not self.findings:
                raise
            self.found(Finding("file", "", "", f"what was written after position {after} cannot be read: {error}"))
            return []

    async def _is_sound(self, row: StoredRow) -> bool:
        wrong = self._content_fault(row) or await self._sequence_fault(row)
        newest = self.newest.setdefault(row.workflow_id, _Newest()) if row.workflow_id else _Newest()
        newest.is_latest = wrong is None
        self.digests_began = self.digests_began or bool(row.info and row.info.digest)
        if wrong is not None:
            kind, detail = wrong
            self.found(Finding(kind, row.checkpoint_id, row.workflow_id, detail))
            if len(self.damaged) < MOST_FINDINGS:
                self.damaged.add(row.position)
            return False
        assert row.info is not None
        newest.sequence, newest.position, newest.checkpoint_id = row.info.sequence, row.position, row.info.id
        return True

    def _content_fault(self, row: StoredRow) -> tuple[str, str] | None:
        if row.info is None:
            return "row", row.damage
        is_below_damage = row.parent is not None and row.parent.position in self.damaged
        faults = (
            _parent_fault(row),
            None if is_below_damage else _chain_fault(row),
            _payload_fault(row),
            self._digest_fault(row, row.info, is_below_damage=is_below_damage),
        )
        return next(filter(None, faults), None)

    def _digest_fault(self, row: StoredRow, info: CheckpointInfo, *, is_below_damage: bool) -> tuple[str, str] | None:
        if row.seal is not None:
            return _seal_fault(row, info, row.seal)
        if not info.digest:
            return ("digest", "it has none, and others before it have") if self.digests_began else None
        parent_digest = row.parent.digest if row.parent is not None else ""
        if digest_of(seal_of(info, row.payload, row.full), parent_digest) == info.digest or is_below_damage:
            return None
        return "digest", "its header, its payload, its parent's digest or its own is not what was written"

    async def _sequence_fault(self, row: StoredRow) -> tuple[str, str] | None:
        assert row.info is not None
        before = self.newest.get(row.workflow_id, _Newest())
        if row.info.sequence > before.sequence:
            return None
        if row.info.sequence < 1:
            return "sequence", f"it is {row.info.sequence}; the first is 1"
        # What had the number may have been deleted since it was looked at, and the number been given anew.
        there = await self.storage.read_rows(before.position - 1, 1, workflow_id=self.workflow_id)
        if not there or there[0].checkpoint_id != before.checkpoint_id:
            return None
        return (
            "sequence",
            f"it is {row.info.sequence}, but {before.sequence} was given to {before.checkpoint_id!r} before",
        )

    async def _check(
        self, checkpoint_id: CheckpointID, workflow_id: str, check: Callable[[Checkpoint], object]
    ) -> None:
        try:
            check(await self.storage.load(checkpoint_id))
        except CheckpointNotFoundError:  # deleted or pruned since it was looked at
            return
        except Exception as error:  # noqa: BLE001 - a check may refuse in any way; the finding tells
            self.found(Finding("check", checkpoint_id, workflow_id, f"{type(error).__name__}: {error}"))


def _parent_fault(row: StoredRow) -> tuple[str, str] | None:
    if row.refers_to is not None and row.parent is None:
        return "parent", f"it names {row.refers_to} as its parent, and there is no such checkpoint"
    if row.parent is not None and row.parent.position >= row.position:
        return "parent", f"it names {row.refers_to} as its parent, which was written later"
    return None


def _chain_fault(row: StoredRow) -> tuple[str, str] | None:
    if row.full:
        return None
    if row.parent is None:
        return "chain", "its payload needs a parent's, and it has no parent"
    if row.parent.workflow_id != row.workflow_id:
        return "chain", f"its payload needs a parent's of its own workflow id, not of {row.parent.workflow_id!r}"
    return None


def _payload_fault(row: StoredRow) -> tuple[str, str] | None:
    try:
        unpack_delta(row.payload, row.full)
    except CheckpointError as error:
        return "payload", str(error)
    return None


def _seal_fault(row: StoredRow, info: CheckpointInfo, seal: bytes) -> tuple[str, str] | None:
    if row.refers_to is not None or not row.full:
        return "seal", "it has a seal, as what a prune cut off has, but it has a parent or does not stand alone"
    if reseal(info, row.payload, row.full) != seal:
        return "seal", "its header, its payload, its digest or its seal is not what a prune wrote"
    return None

"""The recorder writes a run's commits to its storage, as the run's durability asks, and keeps the standing true to it.

What has been applied to the snapshot and not been stored yet can be taken back: if a save fails, the workflow goes back to
what is stored (unless it was told to go on).

=============  ==========================================================================================
durability     a superstep's commit is written
=============  ==========================================================================================
"superstep"    before the next superstep starts
"async"        while the next superstep runs; at most one is under way
"exit"         with all others of the run, when it ends in any way
"delivery"     before the next superstep starts; and what each delivery did, before its actor's next delivery
=============  ==========================================================================================

The commit that opens a run (entry or responses) is always written before its first superstep.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import attrs
import trio

from actorflow.checkpoint.ledger import Ledger, Staged
from actorflow.checkpoint.records import CheckpointID, CheckpointInfo, CheckpointKind, Commit, Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.snapshot import Changes
from actorflow.durability import Durability
from actorflow.errors import CheckpointError, CheckpointNotFoundError, LeaseLostError
from actorflow.runtime.definition import Definition
from actorflow.runtime.standing import Standing

__all__ = ["Recorder", "RecorderPort"]

GRACE = 5.0
"""Seconds a save may take that must be finished after a cancellation."""


_AT_ONCE: tuple[Durability, ...] = ("superstep", "delivery")


class RecorderPort(Protocol):
    """What the recorder tells of."""

    async def saved(self, info: CheckpointInfo) -> None:
        """A checkpoint is in the storage."""
        ...

    async def save_failed(self, error: CheckpointError) -> None:
        """A checkpoint could not be written."""
        ...


@attrs.define(eq=False)
class _Saving:
    """A save that is under way in the background."""

    staged: Staged
    commit: Commit
    done: trio.Event = attrs.Factory(trio.Event)
    info: CheckpointInfo | None = None
    error: BaseException | None = None


@attrs.define(eq=False, kw_only=True)
class Recorder:
    """Writes one run's commits.

    Attributes:
        standing: What is kept true.
        definition: Name, signature and failure policy.
        workflow_id: Whose lineage grows.
        run_id: Who writes.
        storage: Where to; None to keep commits in memory only.
        lease: The storage's grant, on which every write is conditional.
        durability: When.
        port: Told of every save.
        start_soon: Starts a task in the run's nursery.
    """

    standing: Standing
    definition: Definition
    workflow_id: str
    run_id: str
    storage: CheckpointStorage | None
    lease: Lease | None
    durability: Durability
    port: RecorderPort
    start_soon: Callable[..., None]
    parent_id: CheckpointID | None = None
    _written: int = 0
    _undo: Changes = attrs.Factory(dict)
    _undo_superstep: int = 0
    _undo_mark: object = None
    _saving: _Saving | None = None
    _closing: _Saving | None = None
    _last: tuple[CheckpointKind, int] | None = None

    async def commit(self, changes: Changes, superstep: int, kind: CheckpointKind, *, opens: bool = False) -> None:
        """Make changes the committed state, and store them when the durability says so.

        If cancelled before the storage took them, nothing is committed.

        Args:
            changes: What changed.
            superstep: The superstep that made it.
            kind: Kind of checkpoint.
            opens: Whether this commit opens the run.

        Raises:
            CodecError: A value cannot be stored; nothing is committed.
            CheckpointError: The storage failed; the workflow stands on what is stored.
        """
        snapshot = self.standing.snapshot
        if self.storage is None:
            if self.standing.ledger is not None:
                self.standing.ledger.skip(changes)
            snapshot.apply(changes, superstep)
            return
        await self._finish_saving()
        ledger = self._ledger()
        at_once = opens or self.durability in _AT_ONCE
        mark = ledger.mark() if at_once or not self._undo else None
        ledger.record(snapshot, changes)
        before, self._last = self._last, (kind, superstep)
        if at_once:
            await self._commit_now(ledger, mark, changes, superstep, before)
            return
        self._apply_unsaved(mark, changes, superstep)
        if self.durability == "async":
            self._saving = self._stage()
            self.start_soon(self._save_in_background, self._saving, name=f"save superstep {superstep}")

    async def close(self) -> None:
        """Store what is not stored yet; the run has ended.

        Raises:
            CheckpointError: The storage failed; the workflow went back to what is stored.
        """
        await self._finish_saving()
        if self.storage is None or not self._undo:
            return
        # Asked again after a cancellation, it is the same commit: the storage may have taken it, and told nobody.
        saving = self._closing = self._closing or self._stage()
        await self._save(saving)
        await self._settle(saving)

    async def catch_up(self) -> None:
        """Wait for the save that is under way, and tell of it: what comes next may be far away. If cancelled, it goes on.

        Raises:
            CheckpointError: It failed; the workflow stands on what is stored.
        """
        await self._finish_saving()

    @property
    def stands_on_head(self) -> bool:
        """Whether the storage has all that is committed."""
        ledger = self.standing.ledger
        return self._saving is None and not self._undo and (ledger is None or ledger.is_settled)

    @property
    def unsaved(self) -> bool:
        """Whether something is committed in memory that the storage should have and has not."""
        return (self._saving is not None or bool(self._undo)) and not self._goes_on

    def abandon_unsaved(self) -> None:
        """Go back to what is stored."""
        self._saving = None
        if self._undo:
            self.standing.snapshot.apply(self._undo, self._undo_superstep)
            self._ledger().back_to(self._undo_mark)
            self._undo = {}

    def _ledger(self) -> Ledger:
        assert self.standing.ledger is not None
        return self.standing.ledger

    def _apply_unsaved(self, mark: object, changes: Changes, superstep: int) -> None:
        snapshot = self.standing.snapshot
        if not self._undo:
            self._undo_superstep, self._undo_mark = snapshot.superstep, mark
        for section, value in snapshot.inverse(changes).items():
            self._undo.setdefault(section, value)
        snapshot.apply(changes, superstep)

    async def _commit_now(
        self,
        ledger: Ledger,
        mark: object,
        changes: Changes,
        superstep: int,
        before: tuple[CheckpointKind, int] | None,
    ) -> None:
        saving = self._stage()
        try:
            await self._save(saving)
        finally:
            if saving.info is not None:
                self.standing.snapshot.apply(changes, superstep)
            elif saving.error is not None and self._goes_on:
                self._apply_unsaved(mark, changes, superstep)
            else:
                ledger.back_to(mark)
                self._last = before  # what is left to be saved is older than this
        await self._settle(saving)

    @property
    def _goes_on(self) -> bool:
        """Whether a checkpoint that could not be written is left to the next one, which holds its changes too."""
        return self.definition.checkpoint_failures == "warn"

    def _stage(self) -> _Saving:
        assert self._last is not None
        kind, superstep = self._last
        staged = self._ledger().stage()
        self._written += 1
        head = self.standing.head
        info = CheckpointInfo(
            id=CheckpointID(f"{self.run_id}-{self._written}"),
            parent_id=self.parent_id,
            workflow_name=self.definition.name,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            superstep=superstep,
            kind=kind,
            graph_signature=self.definition.signature,
            created_at=datetime.now(UTC),
            derived_from=head.id if head is not None and self.parent_id is None else None,
        )
        return _Saving(staged, Commit(info=info, payload=staged.payload, full=staged.full, lease=self.lease))

    async def _save(self, saving: _Saving) -> None:
        """Store, and adopt the new head with no checkpoint between; an error of the storage becomes a value."""
        try:
            saving.info = await self._stored(saving)
        except Exception as error:  # noqa: BLE001 - any backend may fail in any way; `_settle` raises it as CheckpointError
            saving.error = error
        else:
            self._adopt(saving)

    async def _stored(self, saving: _Saving) -> CheckpointInfo:
        assert self.storage is not None
        try:
            return await self.storage.save(saving.commit)
        except CheckpointNotFoundError:  # a prune takes a head that is not the latest of its workflow id
            if saving.commit.info.parent_id is None:
                raise
            self._cut_off(saving)
        return await self.storage.save(saving.commit)

    def _cut_off(self, saving: _Saving) -> None:
        """Let a commit whose parent is gone stand alone, as a prune does with a child that stays."""
        ledger, info = self._ledger(), saving.commit.info
        ledger.standalone, self.parent_id = True, None
        saving.staged = ledger.stage()
        saving.commit = attrs.evolve(
            saving.commit,
            info=attrs.evolve(info, parent_id=None, derived_from=info.parent_id),
            payload=saving.staged.payload,
            full=True,
        )

    def _adopt(self, saving: _Saving) -> None:
        assert saving.info is not None
        self._ledger().settle(saving.staged)
        self.standing.head = saving.info
        self.standing.storage = self.storage
        self.parent_id = saving.info.id
        self._undo = {}

    @trio.lowlevel.enable_ki_protection
    async def _save_in_background(self, saving: _Saving) -> None:
        try:
            await self._save(saving)
        except trio.Cancelled:  # the superstep was committed, so it is stored
            with trio.move_on_after(GRACE, shield=True):
                await self._save(saving)
            raise
        except BaseException as error:
            saving.error = error
            raise
        finally:
            saving.done.set()

    async def _finish_saving(self) -> None:
        saving = self._saving
        if saving is None:
            return
        await saving.done.wait()
        self._saving = None
        await self._settle(saving)

    async def _settle(self, saving: _Saving) -> None:
        """Tell of a save's outcome.

        Raises:
            CheckpointError: It failed, and that fails the run.
            LeaseLostError: Another process has taken the workflow id over.
        """
        if saving.info is not None:
            await self.port.saved(saving.info)
            return
        if isinstance(saving.error, LeaseLostError):
            self.abandon_unsaved()
            raise saving.error
        what = f"checkpoint {saving.commit.info.id!r} of superstep {saving.commit.info.superstep}"
        cause = saving.error or TimeoutError(f"not finished within {GRACE} s of a cancellation")
        error = CheckpointError(f"{what} of workflow {self.workflow_id!r} could not be saved: {cause}")
        error.__cause__ = cause
        await self.port.save_failed(error)
        if not self._goes_on:
            self.abandon_unsaved()
            raise error

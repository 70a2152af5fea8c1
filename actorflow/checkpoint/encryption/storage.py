"""A storage that encrypts what another one keeps.

Every section of a checkpoint is encrypted by itself and packed again, so the storage below merges, prunes and lists what it
keeps without any key. Sections are compared before they are encrypted (by the ledger), so what did not change is not
written again.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from actorflow.checkpoint.commit_rules import check_commit, check_entries
from actorflow.checkpoint.deltas import pack_delta, unpack_delta
from actorflow.checkpoint.encryption.sealing import Keyring, Place
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, Commit, JournalEntry, Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.checkpoint.stored_rows import Finding, StoredRow
from actorflow.checkpoint.tools import StorageTools
from actorflow.errors import CheckpointError
from actorflow.threads import run_in_thread

__all__ = ["EncryptedStorage"]

T = TypeVar("T")

_INLINE = 500_000
"""Bytes that are encrypted where they are; more goes to a thread. At over 1 GB/s that holds the other tasks up for 0.4 ms."""


class EncryptedStorage(StorageTools):
    """A `CheckpointStorage` that encrypts every stored value with AES-256-GCM, and keeps the result in another storage.

    Each value is bound to its workflow id and section key, or to its place in the journal: a value that was changed, or
    copied to another place, raises `CodecError` and is not decoded. To rotate keys, add one and make it current; what older
    keys encrypted stays readable as long as they are given.

    Not hidden: headers (ids, names, times, signatures), section keys (so the keys of the shared state, and ids of executors
    and requests), sizes, and which sections changed when. Not prevented: that who writes to the storage below puts an
    older value of a section back, or a whole older store, or takes rows away. One key may encrypt 2**32 values (NIST
    SP 800-38D, section 8.3, random nonces): rotate before.

    It needs the extra ``crypto``. Verbs it does not know go to the storage below as they are.

    Args:
        storage: Where the encrypted checkpoints go.
        keys: 32 random bytes each (``secrets.token_bytes(32)``), by an id that is stored with every value.
        current: Id of the key that encrypts from now on.

    Raises:
        ValueError: An argument is none of these.
        ModuleNotFoundError: The extra is not installed.
    """

    def __init__(self, storage: CheckpointStorage, *, keys: Mapping[str, bytes], current: str) -> None:
        if isinstance(storage, type) or not isinstance(storage, CheckpointStorage):
            raise ValueError(f"storage is a CheckpointStorage with all its verbs, not {storage!r}")  # noqa: TRY004
        self._storage = storage
        self._keyring = Keyring(keys, current)

    def __repr__(self) -> str:
        return f"<EncryptedStorage of {self._storage!r}, current key {self._keyring.current!r}>"

    def __getattr__(self, name: str) -> Any:
        """Give a verb of the storage below. It may not be given what ought to be encrypted."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = getattr(self._storage, name)
        return _refusing_plain(name, found) if callable(found) else found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the storage below, if it can be closed."""
        close = getattr(self._storage, "close", None)
        if close is not None:
            close()

    async def vacuum(self) -> int:
        """Give room back as the storage below does; no key is needed.

        If cancelled, everything is there, as the storage below says.

        Returns:
            By how many bytes what it keeps got smaller.

        Raises:
            CheckpointError: The storage below failed, or has no room to give back, as one in memory has none.
        """
        vacuum = getattr(self._storage, "vacuum", None)
        if vacuum is None:
            raise CheckpointError(
                f"{self._storage!r} has no vacuum: it keeps no file or tables to make smaller; leave it out"
            )
        return int(await vacuum())

    async def save(self, commit: Commit) -> CheckpointInfo:
        """Encrypt and write one checkpoint; see `CheckpointStorage.save`."""
        check_commit(commit)
        payload = await _worked(len(commit.payload), self._sealed_payload, commit)
        return await self._storage.save(attrs.evolve(commit, payload=payload))

    async def load(self, checkpoint_id: CheckpointID | str) -> Checkpoint:
        """Read and decrypt one checkpoint; see `CheckpointStorage.load`.

        Raises:
            EncryptionKeyError: A value needs a key that is not given.
            CodecError: A value is not encrypted, or was changed or moved.
        """
        return await self._opened(await self._storage.load(checkpoint_id))

    async def latest(self, *, workflow_id: str) -> Checkpoint | None:
        """Read and decrypt the checkpoint with the highest sequence; see `CheckpointStorage.latest` and `load`."""
        checkpoint = await self._storage.latest(workflow_id=workflow_id)
        return None if checkpoint is None else await self._opened(checkpoint)

    async def write_journal(self, entries: Sequence[JournalEntry], *, lease: Lease | None = None) -> None:
        """Encrypt and write entries of the journal; see `CheckpointStorage.write_journal`."""
        wanted = tuple(entries)
        check_entries(wanted, lease)
        sealed = await _worked(_size(wanted), self._sealed_entries, wanted)
        await self._storage.write_journal(sealed, lease=lease)

    async def read_journal(
        self, workflow_id: str, checkpoint_id: CheckpointID | str | None
    ) -> builtins.list[JournalEntry]:
        """Read and decrypt entries of the journal; see `CheckpointStorage.read_journal` and `load`."""
        entries = await self._storage.read_journal(workflow_id, checkpoint_id)
        return await _worked(_size(entries), self._opened_entries, entries)

    # Verbs that move no values.

    async def list(
        self,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        limit: int | None = None,
        before: CheckpointID | str | None = None,
    ) -> list[CheckpointInfo]:
        """Headers, newest first; see `CheckpointStorage.list`."""
        return await self._storage.list(workflow_id, workflow_name, limit, before)

    async def lineage(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers from this checkpoint to its root; see `CheckpointStorage.lineage`."""
        return await self._storage.lineage(checkpoint_id)

    async def children(self, checkpoint_id: CheckpointID | str) -> builtins.list[CheckpointInfo]:
        """Headers of the children, oldest first; see `CheckpointStorage.children`."""
        return await self._storage.children(checkpoint_id)

    async def delete(self, checkpoint_id: CheckpointID | str) -> None:
        """Delete a leaf; see `CheckpointStorage.delete`."""
        await self._storage.delete(checkpoint_id)

    async def prune(
        self, *, workflow_id: str | None = None, keep_last: int | None = None, older_than: timedelta | None = None
    ) -> int:
        """Delete old checkpoints; see `CheckpointStorage.prune`. It needs no key."""
        return await self._storage.prune(workflow_id=workflow_id, keep_last=keep_last, older_than=older_than)

    async def acquire_lease(self, workflow_id: str, *, owner: str) -> Lease:
        """Take the lease of a workflow id; see `CheckpointStorage.acquire_lease`."""
        return await self._storage.acquire_lease(workflow_id, owner=owner)

    async def renew_lease(self, lease: Lease) -> None:
        """Let a lease last from now on; see `CheckpointStorage.renew_lease`."""
        await self._storage.renew_lease(lease)

    async def release_lease(self, lease: Lease) -> None:
        """Give a lease back; see `CheckpointStorage.release_lease`."""
        await self._storage.release_lease(lease)

    async def read_rows(
        self, after: int = 0, limit: int = 100, *, workflow_id: str | None = None
    ) -> builtins.list[StoredRow]:
        """A page of what is stored, encrypted as it is; see `CheckpointStorage.read_rows`. Digests are of that."""
        return await self._storage.read_rows(after, limit, workflow_id=workflow_id)

    async def inspect(self) -> builtins.list[Finding]:
        """Look for damage outside of the rows of checkpoints; see `CheckpointStorage.inspect`."""
        return await self._storage.inspect()

    # The work.

    def _sealed_payload(self, commit: Commit) -> bytes:
        delta = unpack_delta(commit.payload, commit.full)
        workflow_id = commit.info.workflow_id
        changed = {key: self._keyring.seal(data, _section(workflow_id, key)) for key, data in delta.changed.items()}
        return pack_delta(attrs.evolve(delta, changed=changed))

    async def _opened(self, checkpoint: Checkpoint) -> Checkpoint:
        contents = checkpoint.contents
        opened = await _worked(sum(map(len, contents.values())), self._opened_contents, checkpoint)
        return attrs.evolve(checkpoint, contents=opened)

    def _opened_contents(self, checkpoint: Checkpoint) -> dict[str, bytes]:
        return {
            key: self._keyring.open(
                data, _section(checkpoint.workflow_id, key), f"{key} of checkpoint {checkpoint.id!r}"
            )
            for key, data in checkpoint.contents.items()
        }

    def _sealed_entries(self, entries: Iterable[JournalEntry]) -> builtins.list[JournalEntry]:
        return [attrs.evolve(each, payload=self._keyring.seal(each.payload, _entry(each))) for each in entries]

    def _opened_entries(self, entries: Iterable[JournalEntry]) -> builtins.list[JournalEntry]:
        return [
            attrs.evolve(each, payload=self._keyring.open(each.payload, _entry(each), _entry_name(each)))
            for each in entries
        ]


def _section(workflow_id: str, key: str) -> Place:
    return "section", workflow_id, key


def _entry(entry: JournalEntry) -> Place:
    return "journal", entry.workflow_id, entry.checkpoint_id, entry.index


def _entry_name(entry: JournalEntry) -> str:
    return f"journal entry {entry.index} of workflow {entry.workflow_id!r} after checkpoint {entry.checkpoint_id!r}"


def _size(entries: Iterable[JournalEntry]) -> int:
    return sum(len(each.payload) for each in entries)


async def _worked(size: int, work: Callable[[Any], T], what: Any) -> T:
    return work(what) if size <= _INLINE else await run_in_thread(work, what)


def _refusing_plain(name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
    """Let no verb that is not known here write what should have been encrypted."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        for given in (*args, *kwargs.values()):
            inside = given if isinstance(given, (list, tuple)) else (given,)
            if any(isinstance(each, (Commit, JournalEntry, Checkpoint)) for each in inside):
                raise CheckpointError(
                    f"{name} would write values as they are, not encrypted; use save or write_journal"
                )
        return verb(*args, **kwargs)

    return guarded

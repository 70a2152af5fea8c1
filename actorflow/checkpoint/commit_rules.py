"""What every storage demands of a commit and says when it refuses, in one place, so that no backend is laxer.

Save demands all that load demands: text that UTF-8 can hold, a time of day with its offset, numbers that fit.
"""

from __future__ import annotations

from collections.abc import Iterable

from actorflow.checkpoint.records import CheckpointID, CheckpointInfo, Commit, JournalEntry, Lease
from actorflow.errors import CheckpointError, CheckpointNotFoundError

__all__ = [
    "MAX_PAYLOAD",
    "check_commit",
    "check_entries",
    "check_entry_sizes",
    "check_limit",
    "check_max_payload",
    "check_parent",
    "check_payload",
    "check_same",
    "check_size",
    "has_children",
    "is_storable",
    "not_found",
    "payload_fault",
    "refuse_chain",
    "refuse_stored",
    "unknown_head",
]

MAX_PAYLOAD = 64 * 2**20
"""Bytes of a checkpoint's payload, unless a storage is told otherwise. Decoding may take some sixty times that in memory."""

_LARGEST = 2**63 - 1


def check_commit(commit: Commit) -> None:
    """Refuse a commit that no storage could hold and give back exactly.

    Raises:
        CheckpointError: It says which field, and why.
    """
    info = commit.info
    _check_texts(info)
    for name, text in (("id", info.id), ("workflow_id", info.workflow_id)):
        if not text:
            raise CheckpointError(f"{name} of a checkpoint is empty; it is what the checkpoint is found by")
    for name, number in (("superstep", info.superstep), ("format_version", info.format_version)):
        if not 0 <= number <= _LARGEST:
            raise CheckpointError(f"{name} of checkpoint {info.id!r} is {number}; it is 0 to {_LARGEST}")
    if info.created_at.utcoffset() is None:
        raise CheckpointError(f"created_at of checkpoint {info.id!r} has no time zone; give a time in UTC")
    if not isinstance(commit.payload, bytes):
        raise CheckpointError(f"the payload of checkpoint {info.id!r} is not bytes; pack_delta makes it")
    if not commit.full and info.parent_id is None:
        raise CheckpointError(f"checkpoint {info.id!r} has no parent, so its payload must be full")
    _check_lease_for(info.workflow_id, commit.lease)


def check_entries(entries: Iterable[JournalEntry], lease: Lease | None) -> None:
    """Refuse journal entries that no storage could hold and give back exactly.

    Raises:
        CheckpointError: It says which field, and why.
    """
    for entry in entries:
        for name in ("workflow_id", "checkpoint_id"):
            value = getattr(entry, name)
            if value is not None and not (isinstance(value, str) and value and is_storable(value)):
                raise CheckpointError(f"{name} of a journal entry is {value!r}; it is text that UTF-8 can hold")
        if not 0 <= entry.index <= _LARGEST:
            raise CheckpointError(f"index of a journal entry is {entry.index}; it is 0 to {_LARGEST}")
        if not isinstance(entry.payload, bytes):
            raise CheckpointError(f"the payload of journal entry {entry.index} is not bytes")
        _check_lease_for(entry.workflow_id, lease)


def check_max_payload(max_payload: int, most: int = _LARGEST) -> None:
    """Refuse a limit that is none.

    Raises:
        ValueError: It is no whole number from 1 to `most`.
    """
    if isinstance(max_payload, bool) or not isinstance(max_payload, int) or not 1 <= max_payload <= most:
        raise ValueError(f"max_payload is {max_payload!r}; it is a number of bytes, 1 to {most}")


def check_size(commit: Commit, max_payload: int) -> None:
    """Refuse a payload that would not be loaded again.

    Raises:
        CheckpointError: It is larger than the storage's limit.
    """
    check_payload(f"checkpoint {commit.info.id!r}", commit.payload, max_payload)


def check_entry_sizes(entries: Iterable[JournalEntry], max_payload: int) -> None:
    """Refuse an entry of the journal that would not be read again.

    Raises:
        CheckpointError: It is larger than the storage's limit.
    """
    for entry in entries:
        check_payload(f"journal entry {entry.index} of workflow {entry.workflow_id!r}", entry.payload, max_payload)


def check_payload(what: str, payload: bytes, max_payload: int) -> None:
    """Refuse to write what would not be read again.

    Raises:
        CheckpointError: It is larger than the storage's limit.
    """
    if len(payload) > max_payload:
        raise CheckpointError(
            f"{what} takes {len(payload)} bytes, and this storage takes and gives at most max_payload={max_payload}; keep "
            f"large values outside and store where they are, or open the storage with a larger max_payload"
        )


def refuse_stored(what: str, size: int, max_payload: int) -> None:
    """Refuse to read what is larger than what would be saved.

    Raises:
        CheckpointError: It is larger than the storage's limit.
    """
    if size > max_payload:
        raise CheckpointError(
            f"{what} takes {size} bytes, and this storage takes and gives at most max_payload={max_payload}; open it with "
            f"a larger max_payload, or take it for damaged"
        )


def refuse_chain(size: int, most: int) -> None:
    """Refuse to read the rows that a checkpoint stands on where nobody can have written them.

    Raises:
        CheckpointError: They hold more bytes than any chain has.
    """
    if size > most:
        raise CheckpointError(
            f"the rows a checkpoint stands on hold {size} bytes, more than {most}; no actorflow wrote that with this "
            f"max_payload: open it with a larger one, or take the checkpoint for damaged"
        )


def payload_fault(size: int, max_payload: int) -> str:
    """What is wrong with the size of a stored payload; empty if nothing is."""
    if size <= max_payload:
        return ""
    return f"its payload takes {size} bytes, more than max_payload={max_payload}: it was not read"


def _check_lease_for(workflow_id: str, lease: Lease | None) -> None:
    if lease is not None and lease.workflow_id != workflow_id:
        raise CheckpointError(
            f"a write to workflow {workflow_id!r} shows the lease of workflow {lease.workflow_id!r}; acquire its own"
        )


def _check_texts(info: CheckpointInfo) -> None:
    texts = [info.id, info.workflow_id, info.workflow_name, info.run_id, info.graph_signature]
    texts += [text for text in (info.parent_id, info.derived_from) if text is not None]
    if {*map(type, texts)} == {str} and "".join(texts).isascii():
        return  # nearly always: what follows finds out which one it is
    for name in ("id", "workflow_id", "workflow_name", "run_id", "graph_signature", "parent_id", "derived_from"):
        value = getattr(info, name)
        if value is None and name in ("parent_id", "derived_from"):
            continue
        if not isinstance(value, str) or not is_storable(value):
            raise CheckpointError(f"{name} of checkpoint {info.id!r} is {value!r}, not text that UTF-8 can hold")


def is_storable(text: str) -> bool:
    """Whether UTF-8 can hold a text: lone surrogates it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_same(existing: CheckpointInfo, commit: Commit, place: str) -> None:
    """Let a repeated save pass; refuse an id that another checkpoint has.

    A parent that was pruned since the first save is in `derived_from` now.

    Raises:
        CheckpointError: The stored checkpoint of that id has another parent or workflow id.
    """
    info = commit.info
    parent_id = existing.parent_id
    if parent_id is None and info.parent_id is not None:
        parent_id = existing.derived_from
    if (parent_id, existing.workflow_id) != (info.parent_id, info.workflow_id):
        raise CheckpointError(
            f"checkpoint id {info.id!r} is taken in {place}: there it belongs to workflow {existing.workflow_id!r} with "
            f"parent {existing.parent_id!r}, here to {info.workflow_id!r} with parent {info.parent_id!r}; use a fresh id"
        )


def check_parent(commit: Commit, parent_workflow_id: str | None, place: str) -> None:
    """Refuse a parent that is not here, or that a payload cannot stand on.

    Args:
        commit: What is to be saved.
        parent_workflow_id: Workflow id of the stored parent, None if this storage has no such checkpoint.
        place: The storage, for the message.

    Raises:
        CheckpointNotFoundError: The parent is not in this storage.
        CheckpointError: The payload is not full and its parent is of another workflow id.
    """
    info = commit.info
    if info.parent_id is None:
        return
    if parent_workflow_id is None:
        raise CheckpointNotFoundError(
            f"parent {info.parent_id!r} of checkpoint {info.id!r} is not in {place}; save the parent first, or write a "
            f"full checkpoint without a parent and name the origin in derived_from"
        )
    if not commit.full and parent_workflow_id != info.workflow_id:
        raise CheckpointError(
            f"checkpoint {info.id!r} of workflow {info.workflow_id!r} branches from {info.parent_id!r} of workflow "
            f"{parent_workflow_id!r}; the first checkpoint of a branch is written full"
        )


def check_limit(limit: int | None) -> None:
    """Refuse a page of less than one row.

    Raises:
        ValueError: The limit is less than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it is at least 1, or None for all")


def not_found(checkpoint_id: CheckpointID | str, place: str) -> CheckpointNotFoundError:
    """The error for an id that this storage does not have."""
    return CheckpointNotFoundError(f"no checkpoint {checkpoint_id!r} in {place}; list() shows what there is")


def has_children(checkpoint_id: CheckpointID | str, child_id: CheckpointID | str, place: str) -> CheckpointError:
    """The error for deleting what others stand on."""
    return CheckpointError(
        f"checkpoint {checkpoint_id!r} in {place} has children, {child_id!r} among them; delete those first"
    )


def unknown_head(entry: JournalEntry, place: str) -> CheckpointNotFoundError:
    """The error for a journal entry that follows a checkpoint which this storage does not have."""
    return CheckpointNotFoundError(
        f"journal entry {entry.index} of workflow {entry.workflow_id!r} follows checkpoint {entry.checkpoint_id!r}, which "
        f"is not in {place}; save that one first"
    )

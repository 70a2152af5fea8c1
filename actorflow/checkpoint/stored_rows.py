"""What a storage has in its rows, as `fsck` wants to see it: as it is, be it damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from actorflow.checkpoint.records import CheckpointInfo

__all__ = [
    "MOST_ORPHANS",
    "PAGE_BYTES",
    "Finding",
    "StoredParent",
    "StoredRow",
    "orphaned_entry",
    "orphaned_lease",
    "page_of",
]

MOST_ORPHANS = 1000
"""So many orphans of each kind are told."""

PAGE_BYTES = 4 * 1024 * 1024
"""A page of rows ends when their payloads have come to so many bytes, however many rows were asked for."""


@attrs.frozen
class Finding:
    """One thing that is not as it was written.

    Attributes:
        kind: What is wrong:
            "row": fields that no checkpoint can have;
            "parent": a parent that is not there, or was written later;
            "chain": a payload that stands on nothing;
            "payload": bytes that are not a packed delta;
            "digest": a row that is not what its digest was computed from, or has none;
            "seal": the same of a row that a prune rewrote;
            "sequence": a number that another checkpoint of the workflow id has, or out of order;
            "check": a checkpoint that the given check refused;
            "journal", "lease": what follows a checkpoint that is not there, or belongs to nothing;
            "file": what the database itself complains about.
        checkpoint_id: The checkpoint, as far as its id can be read; empty where the finding is about none.
        workflow_id: Its workflow id, likewise.
        detail: What was found, for people.
    """

    kind: str
    checkpoint_id: str
    workflow_id: str
    detail: str

    def __str__(self) -> str:
        where = [f"checkpoint {self.checkpoint_id!r}"] if self.checkpoint_id else []
        where += [f"workflow {self.workflow_id!r}"] if self.workflow_id else []
        return f"{self.kind}: {', '.join(where)}{': ' if where else ''}{self.detail}"


@attrs.frozen(kw_only=True)
class StoredParent:
    """The row that another one names as its parent.

    Attributes:
        position: Its place in the order of writing.
        workflow_id: Its workflow id.
        digest: Its digest in hex, empty if it has none.
    """

    position: int
    workflow_id: str
    digest: str


@attrs.frozen(kw_only=True)
class StoredRow:
    """One checkpoint as it is stored.

    Attributes:
        position: Place in the order of writing; grows from row to row, not always by one.
        checkpoint_id: Its id, as far as it can be read.
        workflow_id: Its workflow id, likewise.
        info: Its header; None if the fields make none.
        damage: Why they make none; empty if they do.
        payload: Its payload.
        full: Whether that stands alone.
        seal: The seal of a row that was rewritten; None for others.
        refers_to: What it names as its parent, in the storage's own words; None if it names none.
        parent: The row that is meant; None if there is none.
    """

    position: int
    checkpoint_id: str
    workflow_id: str
    info: CheckpointInfo | None
    damage: str = ""
    payload: bytes
    full: bool
    seal: bytes | None
    refers_to: str | None
    parent: StoredParent | None


def orphaned_entry(workflow_id: str, index: int, follows: str) -> Finding:
    """The finding for a journal entry that follows nothing."""
    return Finding("journal", "", workflow_id, f"entry {index} follows {follows}, which is not there")


def orphaned_lease(workflow_id: str, owner: str) -> Finding:
    """The finding for a lease that nobody holds, of a workflow id without checkpoints."""
    detail = f"the lease of {owner!r} is over and was not released, and there is no checkpoint of its workflow id"
    return Finding("lease", "", workflow_id, detail)


def page_of(rows: Iterable[StoredRow], limit: int) -> list[StoredRow]:
    """Take a page: at least one row if there is any, no more than asked for, and not many bytes."""
    return [*_until_full(rows, limit)]


def _until_full(rows: Iterable[StoredRow], limit: int) -> Iterator[StoredRow]:
    size = 0
    for count, row in enumerate(rows, start=1):
        yield row
        size += len(row.payload)
        if size >= PAGE_BYTES or count >= limit:
            return

"""Headers as rows of a relational storage, and which of them a listing wants."""

from __future__ import annotations

from typing import Any

import attrs

from actorflow.checkpoint.records import CheckpointID, CheckpointInfo, CheckpointKind
from actorflow.clock import EPOCH, MICROSECOND
from actorflow.errors import CheckpointError

__all__ = ["KINDS", "Page", "digest_in", "header_of"]

KINDS = (CheckpointKind.ENTRY, CheckpointKind.SUPERSTEP, CheckpointKind.RESPONSES)
"""A kind is stored as its place in here."""


@attrs.frozen
class Page:
    """Which headers a listing wants; the fields are the arguments of `CheckpointStorage.list`."""

    workflow_id: str | None
    workflow_name: str | None
    limit: int | None
    before: CheckpointID | str | None


def header_of(row: Any) -> CheckpointInfo:
    """The header in a row: id, parent, names, numbers, in the order in which they are taken apart here."""
    id_, parent, name, workflow, run, superstep, kind, signature, created, sequence, derived, version, digest = row
    if not 0 <= kind < len(KINDS):
        raise CheckpointError(f"checkpoint {id_!r} is of kind {kind}, which this version does not know")
    return CheckpointInfo(
        id=id_,
        parent_id=parent,
        workflow_name=name,
        workflow_id=workflow,
        run_id=run,
        superstep=superstep,
        kind=KINDS[kind],
        graph_signature=signature,
        created_at=EPOCH + created * MICROSECOND,
        sequence=sequence,
        derived_from=derived,
        format_version=version,
        digest=digest_in(digest, id_),
    )


def digest_in(stored: object, checkpoint_id: str | None) -> str:
    """The digest in hex, as a row has it in bytes; empty if it was written before there were digests.

    Raises:
        CheckpointError: It is something else.
    """
    if stored is None:
        return ""
    if not isinstance(stored, bytes):
        raise CheckpointError(f"the digest of checkpoint {checkpoint_id!r} is {stored!r}, not bytes; fsck() tells more")
    return stored.hex()

"""What a checkpoint is made of, as plain values.

A checkpoint is a header (`CheckpointInfo`) and *sections*: a flat mapping from a section key to the encoded bytes of
one value. What is written per superstep is a `Commit`: the header and a packed `Delta` of the sections that changed
since the parent; now and then a delta is *full* and stands alone. Loading merges the chain from the nearest full delta.

Section keys (one value each):

==================  =====================================================================
``state/<key>``     one key of the shared state
``executor/<id>``   the state of one executor
``join/<id>``       what a fan-in join holds
``request/<id>``    one open request
``timer/<s>-<n>``   the delayed message number n of superstep s, for one target
``inflight``        the deliveries planned for the next superstep
``restarts/<id>``   when one executor was restarted lately
``run``             run bookkeeping: origin run id, superstep the run began at
``chain/``          length of the chain of deltas; no part of the state
``outputs/<n>``     outputs committed by superstep n of the run since its entry
==================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

import attrs

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "CheckpointID",
    "CheckpointInfo",
    "CheckpointKind",
    "Commit",
    "Delta",
    "JournalEntry",
    "Lease",
]

FORMAT_VERSION = 1
"""Version of the stored format; written into every checkpoint."""

CheckpointID = NewType("CheckpointID", str)
"""The id of one checkpoint, unique over all storages."""


class CheckpointKind(StrEnum):
    """Why a checkpoint was made."""

    ENTRY = "entry"
    SUPERSTEP = "superstep"
    RESPONSES = "responses"


@attrs.frozen(kw_only=True)
class CheckpointInfo:
    """The header of a checkpoint: all that listing and lineage need, never the contents.

    Attributes:
        id: The checkpoint's own id.
        parent_id: The checkpoint its state was derived from, in the same storage, or None.
        workflow_name: Name of the definition that made it.
        workflow_id: Durable identity; its checkpoints form one lineage tree.
        run_id: The run that made it.
        superstep: 0 for an entry, then 1..n.
        kind: entry, superstep or responses.
        graph_signature: Signature of the graph that may restore it.
        created_at: Time of day, UTC. For people; nothing is ordered by it.
        sequence: Position within the workflow id, 1..n, given by the storage; "latest" is the highest. 0 until saved.
        derived_from: A checkpoint that is not in this storage and that the state was derived from, when `parent_id` is
            None: it is in another storage, or was pruned.
        format_version: Version of the stored format.
        digest: SHA-256 in hex over this checkpoint and, through its parent's digest, all it was derived from; given by
            the storage (see `actorflow.checkpoint.digests`). Empty until saved, and for what was written before there
            were digests. It stays what it was when a prune cuts the checkpoint off from its parent.
    """

    id: CheckpointID
    parent_id: CheckpointID | None
    workflow_name: str
    workflow_id: str
    run_id: str
    superstep: int
    kind: CheckpointKind
    graph_signature: str
    created_at: datetime
    sequence: int = 0
    derived_from: CheckpointID | None = None
    format_version: int = FORMAT_VERSION
    digest: str = ""


@attrs.frozen(kw_only=True)
class Delta:
    """The sections that changed between a checkpoint and its parent.

    Attributes:
        changed: New encoded value by section key.
        removed: Section keys that are gone.
        cleared: Prefixes (``outputs/``) all of whose older sections are gone; applied before `changed`.
        full: True if this holds every section, so that nothing older is needed.
    """

    changed: Mapping[str, bytes]
    removed: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    full: bool = False


@attrs.frozen(kw_only=True)
class Lease:
    """A storage's grant that its holder alone may advance a workflow id.

    It is held until it is released, or overtaken: once it has expired, anybody may take the workflow id over. The epoch
    tells the holders of one workflow id apart for good, so every write is conditional on it.

    Attributes:
        workflow_id: What it is for.
        owner: Who holds it; unique per grant, e.g. a run id.
        host: Host name and process id of the holder, for people.
        epoch: Higher than that of every earlier lease of the workflow id.
        ttl: Seconds from being acquired or renewed to expiring.
        renewal: Seconds from one renewal to the next while a run lasts; None for a third of `ttl`.
    """

    workflow_id: str
    owner: str
    host: str
    epoch: int
    ttl: float
    renewal: float | None = None


@attrs.frozen(kw_only=True)
class Commit:
    """One atomic write: a new checkpoint and with it the new head of its workflow id.

    Attributes:
        info: The header; the storage gives it its sequence and its digest.
        payload: The packed delta (see `actorflow.checkpoint.deltas`); opaque to a backend.
        full: Whether the payload stands alone.
        lease: The lease of the workflow id that must be the current one for this to be written; None for a writer
            without one, whom any lease that has not expired keeps out.
    """

    info: CheckpointInfo
    payload: bytes
    full: bool
    lease: Lease | None = None


@attrs.frozen(kw_only=True)
class JournalEntry:
    """What one finished delivery of an unfinished superstep did.

    Attributes:
        workflow_id: Whose superstep it is.
        checkpoint_id: The head the superstep follows, None if there is no checkpoint yet.
        index: Place of the delivery in the canonical order of the superstep.
        payload: What it did, encoded; opaque to a backend.
    """

    workflow_id: str
    checkpoint_id: CheckpointID | None
    index: int
    payload: bytes


@attrs.frozen(kw_only=True)
class Checkpoint(CheckpointInfo):
    """A checkpoint with its contents: everything needed to go on.

    Attributes:
        contents: Encoded value by section key.
    """

    contents: Mapping[str, bytes]

"""What the author of a storage backend needs: the protocol, the records it moves, and help for threads and time.

Put a backend through `actorflow.testing.StorageConformance`.
"""

from actorflow.checkpoint.codec.generic import Record
from actorflow.checkpoint.commit_rules import check_commit, check_parent, check_same
from actorflow.checkpoint.deltas import merge, pack_delta, unpack_delta
from actorflow.checkpoint.diffs import ABSENT, Change, Diff
from actorflow.checkpoint.digests import chained, digest_of, reseal, seal_of
from actorflow.checkpoint.fsck import FsckReport
from actorflow.checkpoint.opened import StoredMessage, StoredOutput, StoredRequest, StoredTimer
from actorflow.checkpoint.records import (
    FORMAT_VERSION,
    Checkpoint,
    CheckpointID,
    CheckpointInfo,
    CheckpointKind,
    Commit,
    Delta,
    JournalEntry,
    Lease,
)
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.checkpoint.stored_rows import Finding, StoredParent, StoredRow
from actorflow.checkpoint.tools import StorageTools
from actorflow.clock import wall_time
from actorflow.threads import run_in_thread

__all__ = [
    "ABSENT",
    "FORMAT_VERSION",
    "Change",
    "Checkpoint",
    "CheckpointID",
    "CheckpointInfo",
    "CheckpointKind",
    "CheckpointStorage",
    "Commit",
    "Delta",
    "Diff",
    "Finding",
    "FsckReport",
    "JournalEntry",
    "Lease",
    "Record",
    "StorageTools",
    "StoredMessage",
    "StoredOutput",
    "StoredParent",
    "StoredRequest",
    "StoredRow",
    "StoredTimer",
    "chained",
    "check_commit",
    "check_parent",
    "check_same",
    "digest_of",
    "merge",
    "pack_delta",
    "reseal",
    "run_in_thread",
    "seal_of",
    "unpack_delta",
    "wall_time",
]

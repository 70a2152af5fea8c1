"""What the author of a storage backend needs: the protocol, the records it moves, and help for threads and time.

Put a backend through `actorflow.testing.StorageConformance`.
"""

from actorflow.checkpoint.commit_rules import check_commit, check_parent, check_same
from actorflow.checkpoint.deltas import merge, pack_delta, unpack_delta
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
from actorflow.clock import wall_time
from actorflow.threads import run_in_thread

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "CheckpointID",
    "CheckpointInfo",
    "CheckpointKind",
    "CheckpointStorage",
    "Commit",
    "Delta",
    "JournalEntry",
    "Lease",
    "check_commit",
    "check_parent",
    "check_same",
    "merge",
    "pack_delta",
    "run_in_thread",
    "unpack_delta",
    "wall_time",
]

"""Which checkpoints a call of prune takes, and how one that stays is cut off from what goes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import attrs

from actorflow.checkpoint.deltas import merge, pack_delta, unpack_delta
from actorflow.checkpoint.records import Delta
from actorflow.clock import MICROSECOND, microseconds
from actorflow.errors import CheckpointError

__all__ = ["Pruning", "standing_alone"]


@attrs.frozen
class Pruning:
    """What one call of prune takes, of each workflow id.

    Attributes:
        keep: So many of the newest stay, at least the latest.
        before: What was made at this moment or later stays, in microseconds since 1970 UTC; None if age does not matter.
    """

    keep: int
    before: int | None

    @classmethod
    def asked(cls, keep_last: int | None, older_than: timedelta | None) -> Pruning:
        """Understand the arguments of `CheckpointStorage.prune`.

        Age is measured from the real time of day, as is `created_at`, even where leases go by a virtual clock.

        Raises:
            ValueError: They say nothing, or nothing that can be done.
            TypeError: older_than is no timedelta.
        """
        if keep_last is None and older_than is None:
            raise ValueError("prune would take everything: give keep_last, older_than or both")
        if keep_last is not None and keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}; it is at least 1, as the latest of a workflow id always stays")
        if older_than is None:
            return cls(keep_last or 1, None)
        if not isinstance(older_than, timedelta):
            raise TypeError(f"older_than is {older_than!r}; it is a timedelta, such as timedelta(days=30)")
        if older_than < timedelta(0):
            raise ValueError(f"older_than is {older_than}; it is 0 or more")
        return cls(keep_last or 1, microseconds(datetime.now(UTC)) - older_than // MICROSECOND)

    def takes_age(self, created: int) -> bool:
        """Whether something made at this moment, in microseconds since 1970 UTC, is old enough to go."""
        return self.before is None or created < self.before


def standing_alone(checkpoint_id: str, chain: Iterable[tuple[bytes, bool]]) -> bytes:
    """Merge a chain of payloads into one that needs no other.

    Args:
        checkpoint_id: Whose it is, for the message.
        chain: Payloads and whether they are full, oldest first.

    Raises:
        CheckpointError: The chain cannot be read.
    """
    try:
        contents = merge(unpack_delta(payload, full) for payload, full in chain)
    except CheckpointError as error:
        raise CheckpointError(
            f"checkpoint {checkpoint_id!r} would stay but cannot be read, so what it stands on was not pruned: {error}; "
            f"delete it, or keep more"
        ) from error
    return pack_delta(Delta(changed=contents, full=True))

"""The digest chain: what each checkpoint says of itself and of all that it was derived from.

The *seal* of a checkpoint is the SHA-256 of its header and payload; its *digest* is the SHA-256 of its parent's digest
(nothing, if it has none) followed by its seal. So a digest vouches for the whole lineage, as in any hash chain: no
ancestor can be altered, left out or put in without the digests of all that follow becoming wrong.

A checkpoint that a prune cuts off from its parent is rewritten, but keeps its digest, because its children chain to it.
It gets a *reseal*: the SHA-256 of that digest followed by the seal of what it is now.

A header is encoded as a msgpack array in the shortest forms: the word ``actorflow``, then the fields in the order below,
with the time in microseconds since 1970 UTC. The payload follows as it is. All of it is fixed: stored digests depend on it.

A digest is no signature: whoever can write the file can also compute new ones. See docs/decisions/0012-digest-chain.md.
"""

from __future__ import annotations

from hashlib import sha256

import attrs
import msgspec

from actorflow.checkpoint.records import CheckpointInfo
from actorflow.clock import microseconds

__all__ = ["chained", "digest_of", "reseal", "seal_of"]

_encode = msgspec.msgpack.Encoder().encode


def seal_of(info: CheckpointInfo, payload: bytes, full: bool, sequence: int | None = None) -> bytes:
    """SHA-256 of one checkpoint by itself: its header without the digest, and its payload.

    Args:
        info: The header as stored, with its sequence.
        payload: The packed delta, as stored.
        full: Whether the payload stands alone.
        sequence: The sequence it is stored with, if the header does not bear it yet.

    Raises:
        ValueError: The header cannot be encoded; `check_commit` lets no such header through.
    """
    created_at = microseconds(info.created_at)
    try:
        seal = sha256(
            _encode(
                (
                    *("actorflow", info.id, info.parent_id, info.derived_from, info.workflow_name, info.workflow_id),
                    *(info.run_id, info.superstep, info.kind.value, info.graph_signature, created_at),
                    *(info.sequence if sequence is None else sequence, info.format_version, full),
                )
            )
        )
    except (OverflowError, TypeError) as error:  # UnicodeEncodeError is a ValueError already
        raise ValueError(f"the header of checkpoint {info.id!r} cannot be sealed: {error}") from error
    seal.update(payload)
    return seal.digest()


def digest_of(seal: bytes, parent_digest: str) -> str:
    """The digest, in hex, of what follows a parent.

    Args:
        seal: Its seal.
        parent_digest: The parent's digest in hex; empty if there is no parent, or it was written before there were digests.
    """
    return sha256(bytes.fromhex(parent_digest) + seal).hexdigest()


def chained(
    info: CheckpointInfo, payload: bytes, full: bool, parent_digest: str, sequence: int | None = None
) -> CheckpointInfo:
    """A header with its digest, as a storage must keep it and return it from `save`.

    Args:
        info: The header as it will be stored: its sequence is part of what is sealed.
        payload: The payload of the commit.
        full: Whether it stands alone.
        parent_digest: As in `digest_of`.
        sequence: The sequence to store it with, if the header does not bear it yet.
    """
    number = info.sequence if sequence is None else sequence
    return attrs.evolve(info, sequence=number, digest=digest_of(seal_of(info, payload, full, number), parent_digest))


def reseal(info: CheckpointInfo, payload: bytes, full: bool) -> bytes:
    """What vouches for a checkpoint that was rewritten and kept its digest.

    Args:
        info: The header as it is now, with the digest it had.
        payload: The payload as it is now.
        full: Whether that stands alone.
    """
    return bytes.fromhex(digest_of(seal_of(info, payload, full), info.digest))

"""Packing one delta into bytes, and merging a chain of deltas into the contents of a checkpoint.

A packed delta is a msgpack array ``[changed, removed, cleared]``; what is empty at its end is left out, so that the
framing of a section is its key and three to six bytes. The bytes are decoded into this one shape and nothing else:
whatever a hostile payload holds, the worst it can do is to be refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from actorflow.checkpoint.records import Delta
from actorflow.errors import CheckpointError, CodecError

__all__ = ["merge", "pack_delta", "unpack_delta"]


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    changed: dict[str, bytes]
    removed: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack_delta(delta: Delta) -> bytes:
    """Turn a delta into the payload of a commit.

    Whether it is full is not part of the payload: the commit says so, and the storage keeps it beside the payload.

    Raises:
        CodecError: A section key is not text that UTF-8 can hold, or a section is not bytes.
    """
    _check(delta)
    try:
        return _encode(_shape(delta))
    except UnicodeEncodeError as error:
        raise CodecError("delta", f"its section keys cannot be stored: {error}") from error


def _check(delta: Delta) -> None:
    for key in (*delta.changed, *delta.removed, *delta.cleared):
        if not isinstance(key, str):
            raise CodecError("delta", f"a section key is text, not {key!r}")
    for key, value in delta.changed.items():
        if not isinstance(value, bytes):
            raise CodecError(key, f"a section is bytes, not {type(value).__qualname__}")


def _shape(delta: Delta) -> tuple[object, ...]:
    changed = dict(delta.changed)
    if delta.cleared:
        return (changed, delta.removed, delta.cleared)
    return (changed, delta.removed) if delta.removed else (changed,)


def unpack_delta(payload: bytes, full: bool) -> Delta:
    """Read a payload back.

    Args:
        payload: What `pack_delta` made.
        full: Whether it stands alone, as its commit said.

    Raises:
        CodecError: The bytes are not a packed delta.
    """
    if not isinstance(payload, bytes):
        raise CodecError("payload", f"a packed delta is bytes, not {type(payload).__name__}")
    try:
        packed = _decode(payload)
    except ValueError as error:  # every error of the decoder is one: malformed, wrong shape, not UTF-8
        raise CodecError("payload", f"these {len(payload)} bytes are not a packed delta: {error}") from error
    return Delta(changed=packed.changed, removed=packed.removed, cleared=packed.cleared, full=full)


def merge(deltas: Iterable[Delta]) -> dict[str, bytes]:
    """Apply a chain of deltas: of each, first what it clears, then what it removes, then what it changes.

    It works from the newest to the oldest and keeps the first value it meets for a key, so that the cost is the number
    of changes in the chain, however often the chain clears a prefix or rewrites a section. The sections come in the
    order in which they came to be, as if the chain had been replayed.

    Args:
        deltas: Oldest first, the first of them full.

    Raises:
        CheckpointError: The chain is empty, or does not begin with a full delta.
    """
    chain = list(deltas)
    if not chain or not chain[0].full:
        raise CheckpointError("a chain of deltas begins with a full one; the rows of this checkpoint are incomplete")
    contents: dict[str, bytes] = {}
    born: dict[str, tuple[int, int]] = {}
    gone: set[str] = set()
    cleared: tuple[str, ...] = ()
    for age, delta in enumerate(reversed(chain)):
        for place, (key, value) in enumerate(delta.changed.items()):
            if key not in gone and not key.startswith(cleared):
                contents.setdefault(key, value)
                born[key] = (-age, place)
        if delta.full:
            break
        gone.update(delta.removed)
        cleared += tuple(prefix for prefix in delta.cleared if not prefix.startswith(cleared))
    return {key: contents[key] for key in sorted(contents, key=born.__getitem__)}

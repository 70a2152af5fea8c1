"""Encrypting one value: AES-256 in Galois/Counter mode, bound to the place it is stored at.

A sealed value is ``C1 01``, the length of the key's id, that id, 96 random bits, the ciphertext and its tag of 16 bytes. ``C1``
begins no MessagePack value, so nothing takes a sealed value for a plain one or the other way round; ``01`` is the version of
this form. The key's id and the place are authenticated with the value: one that was changed, or put at another place, is
refused before anything of it is looked at.

**Bounds.** Nonces are drawn at random, so two values under one key might get the same one, which would give both away. NIST
SP 800-38D (section 8.3) allows 2**32 encryptions under one key with random 96-bit nonces, for a probability of that below 2**-32.
Every changed section and every journal entry is one encryption: make another key the current one before four thousand
million of them, summed over all processes that share the key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from actorflow.errors import CheckpointError, CodecError, EncryptionKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Keyring", "Place"]

Place = tuple[str | int | None, ...]
"""Where a value is stored; only that place can open it."""

_PREFIX = b"\xc1\x01"
_NONCE = 12
_TAG = 16
_KEY = 32

_encode = msgspec.msgpack.Encoder().encode


class Keyring:
    """Keys by id, one of which encrypts. It shows their ids, and never a key.

    Args:
        keys: 32 random bytes each, by an id of at most 255 bytes.
        current: Id of the key that encrypts; all of them decrypt.

    Raises:
        ValueError: An id or a key is none.
        ModuleNotFoundError: The extra ``crypto`` is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        for key_id, key in keys.items():
            _check_id(key_id)
            if not isinstance(key, bytes) or len(key) != _KEY:
                found = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
                raise ValueError(f"key {key_id!r} is {found}; it is {_KEY} random bytes: secrets.token_bytes({_KEY})")
        if current not in keys:
            raise ValueError(f"current is none of the ids {sorted(keys)}; give the id of one of the keys")
        cipher = _cipher()
        self._ciphers: dict[str, AESGCM] = {key_id: cipher(key) for key_id, key in keys.items()}
        self.current = current

    def __repr__(self) -> str:
        return f"Keyring({sorted(self._ciphers)}, current={self.current!r})"

    def seal(self, value: bytes, place: Place) -> bytes:
        """Encrypt a value with the current key.

        Raises:
            CheckpointError: It is larger than the cipher takes (2 GiB).
        """
        header = _PREFIX + _with_length(self.current.encode())
        nonce = os.urandom(_NONCE)
        try:
            return header + nonce + self._ciphers[self.current].encrypt(nonce, value, _bound(header, place))
        except OverflowError as error:
            raise CheckpointError(f"{len(value)} bytes are too many to be encrypted as one value") from error

    def open(self, sealed: bytes, place: Place, what: str) -> bytes:
        """Decrypt a value.

        Args:
            sealed: What `seal` gave.
            place: The place it was read at.
            what: What to call it in an error.

        Raises:
            EncryptionKeyError: Its key is not among those given.
            CodecError: It is not encrypted, or not what was written at this place with this key.
        """
        if not sealed.startswith(_PREFIX):
            raise CodecError(what, _not_sealed(sealed))
        start = len(_PREFIX) + 1 + int.from_bytes(sealed[len(_PREFIX) : len(_PREFIX) + 1], "big")
        header, nonce, body = sealed[:start], sealed[start : start + _NONCE], sealed[start + _NONCE :]
        if len(body) < _TAG:
            raise CodecError(what, f"is cut off: {len(sealed)} bytes hold no encrypted value")
        key_id = header[len(_PREFIX) + 1 :].decode("utf-8", "backslashreplace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise EncryptionKeyError(what, key_id, tuple(sorted(self._ciphers)))
        try:
            return cipher.decrypt(nonce, body, _bound(header, place))
        except _invalid_tag():
            # Not "from" the cipher's error, which says nothing.
            raise CodecError(
                what,
                f"is not what was encrypted here with key {key_id!r}: it was changed, comes from another place, or "
                f"that id stands for another key; nothing of it was read",
            ) from None


def _bound(header: bytes, place: Place) -> bytes:
    return _encode((header, place))


def _with_length(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _not_sealed(value: bytes) -> str:
    if value.startswith(_PREFIX[:1]):
        return "is encrypted in a form that this version of actorflow does not know; read it with a newer one"
    return "is not encrypted; read it with the plain storage, and let a run under a new workflow id write it encrypted"


def _check_id(key_id: object) -> None:
    # What was given is not shown: it may be the key itself.
    if not isinstance(key_id, str):
        raise ValueError(f"the id of a key is a str of 1 to 255 bytes, not {type(key_id).__name__}")  # noqa: TRY004
    try:
        size = len(key_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= 255:
        raise ValueError("the id of a key is a str of 1 to 255 bytes that UTF-8 can hold")


def _cipher() -> type[AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ModuleNotFoundError(
            "encrypted checkpoints need the package cryptography; install actorflow[crypto]", name="cryptography"
        ) from error
    return AESGCM


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag

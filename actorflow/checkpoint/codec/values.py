"""Values to bytes and back: exactly, or not at all.

``decode(encode(x))`` has the type and value of ``x``, recursively; what could not come back so is refused by `encode`,
with the path of the offending value. Equal values built the same way give equal bytes, so that a change can be found by
comparing bytes.

Stored bytes are data only (P9). They may name classes of a closed `TypeRegistry`, which cattrs dispatches to the hooks of
`actorflow.checkpoint.codec.instances`; no name in them is imported or called, and nothing but `CodecError` comes out of bad bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from enum import Enum, Flag
from typing import Any, TypeVar

from msgspec.msgpack import Decoder

from actorflow.checkpoint.codec import wire
from actorflow.checkpoint.codec.instances import Rebuild, shape_converter
from actorflow.checkpoint.codec.lifting import how_to_lift
from actorflow.checkpoint.codec.lowering import MAX_DEPTH, Lowering
from actorflow.checkpoint.codec.plain_data import is_plain
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.scalars import LEAF_READERS
from actorflow.checkpoint.codec.wire import Malformed, Refused, collide, pack
from actorflow.errors import CodecError

__all__ = ["Codec"]

Held = TypeVar("Held", bound=Sized)
Read = Callable[[memoryview], Any]

_SHORT = 16_384
"""Bytes that hold too few keys to matter, were they all of one hash."""

_MEMBER, _VALUE = "member", "value"

_TOO_DEEP = (
    f"the call stack is too deep to walk this value; values may nest {MAX_DEPTH} deep, less when called deep down"
)


class Codec:
    """Stores values of builtin types and of the classes of one registry.

    Args:
        registry: The classes that stored values may have.
    """

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._shapes = shape_converter(registry)
        self._quick = Lowering(registry, self._shapes, careful=False)
        self._careful = Lowering(registry, self._shapes, careful=True)
        self._unpack = Decoder(ext_hook=self._read_extension).decode
        self._rebuilds: dict[str, tuple[type, Rebuild]] = {}
        self._readers: dict[int, Callable[[memoryview, Read], object]] = {
            **LEAF_READERS,
            wire.TUPLE: _read_tuple,
            wire.SET: _read_set,
            wire.FROZENSET: _read_frozenset,
            wire.PAIRS: _read_pairs,
            wire.OBJECT: self._read_object,
            wire.MEMBER: self._read_member,
            wire.FLAG: self._read_flag,
        }

    def encode(self, value: object, path: str) -> bytes:
        """Give the stored form of a value.

        Args:
            value: Any value.
            path: What to call it in an error, e.g. ``state['cart']``.

        Returns:
            Bytes from which `decode` makes an equal value of the same type.

        Raises:
            CodecError: The value, or one inside it, could not come back exactly; its ``path`` says which.
        """
        try:
            return self._encode(value)
        except Refused as refused:
            raise CodecError(path + refused.path, refused.problem) from None
        except RecursionError:
            raise CodecError(path, _TOO_DEEP) from None
        except (OverflowError, UnicodeEncodeError) as error:
            raise CodecError(path, f"cannot store a value beyond the limits of MessagePack: {error}") from error

    def decode(self, data: bytes, path: str) -> object:
        """Make the value of a stored form.

        Args:
            data: What `encode` gave.
            path: What to call it in an error.

        Returns:
            The value.

        Raises:
            CodecError: The bytes are damaged, or name a class or field that this workflow does not declare.
        """
        try:
            return self._decoded(data)
        except Exception as error:  # the __eq__ and __hash__ of declared classes run when sets and keys come back
            raise CodecError(
                path, f"the stored bytes cannot be read back: {str(error) or type(error).__name__}"
            ) from error

    def _encode(self, value: object) -> bytes:
        try:
            return pack(value if is_plain(value) else self._quick.lower(value))
        except (OverflowError, UnicodeEncodeError):
            return pack(self._careful.lower(value))

    def _read_extension(self, code: int, data: memoryview) -> object:
        reader = self._readers.get(code)
        if reader is None:
            raise Malformed(f"unknown extension {code}")
        return reader(data, self._decoded)

    def _decoded(self, data: bytes | memoryview) -> Any:
        """Decode one level: what its extensions hold is the next one.

        No writer makes an extension a key of a map, and hostile ones could be of one hash and cost quadratic time. So
        whatever is long enough for that to be felt is first decoded with something in their place that cannot be a key.
        """
        if len(data) < _SHORT:
            return self._unpack(data)
        met: list[int] = []
        value = Decoder(ext_hook=lambda code, _: met or _note(met, code)).decode(data)
        return self._unpack(data) if met else value

    def _read_object(self, data: memoryview, unpack: Read) -> object:
        name, fields, *versioned = unpack(data)
        found = None if versioned else self._rebuilds.get(name)
        if found is not None:
            return found[1](fields, found[0])
        return self._read_instance(name, fields, versioned)

    def _read_member(self, data: memoryview, unpack: Read) -> object:
        name, member, *versioned = unpack(data)
        return self._read_instance(name, {_MEMBER: member}, versioned)

    def _read_flag(self, data: memoryview, unpack: Read) -> object:
        name, value, *versioned = unpack(data)
        return self._read_instance(name, {_VALUE: value}, versioned)

    def _read_instance(self, name: object, fields: Any, versioned: list[object]) -> object:
        version = _version(versioned)
        if not isinstance(name, str):
            raise Malformed(f"a stored type is a name, not {type(name).__name__}")
        cls = self._registry.class_of(name)
        if cls is None or self._registry.version_of(cls) != version:
            return self._lift(name, version, fields)
        if not versioned and not issubclass(cls, Enum):
            self._rebuilds[name] = cls, self._shapes.get_structure_hook(cls)
        return self._rebuild(cls, fields)

    def _rebuild(self, cls: type, fields: Any) -> object:
        if not issubclass(cls, Enum):
            return self._shapes.get_structure_hook(cls)(fields, cls)
        return _flags_of(cls, fields) if issubclass(cls, Flag) else _member_of(cls, fields)

    def _lift(self, name: str, version: int, fields: Any) -> object:
        """Make a present value of an older form. It must be one that could be stored: an upcaster may give anything."""
        lifted = self._registry.lifts.lift(name, version, fields)
        try:
            value = lifted.value
            if lifted.name is not None:
                cls = self._registry.class_of(lifted.name)
                assert cls is not None
                value = self._rebuild(cls, value)
            self._encode(value)
        except Malformed as malformed:
            raise Malformed(f"what {lifted.last} gave does not fit: {malformed}") from malformed
        except Refused as refused:
            raise Malformed(f"what {lifted.last} gave does not fit: {refused.path} {refused.problem}") from refused
        return value


def _note(met: list[int], code: int) -> list[int]:
    met.append(code)
    return met


def _version(versioned: list[object]) -> int:
    match versioned:
        case []:
            return 1
        case [int() as version] if version > 1:  # 1 is not written, so that a value has one stored form
            return version
        case _:
            raise Malformed("a version is a whole number from 2")


def _member_of(cls: type[Enum], fields: Any) -> Enum:
    match fields:
        case {"member": str() as member, **rest} if not rest and member in cls.__members__:
            return cls.__members__[member]
        case {"member": member}:
            raise Malformed(f"{cls.__name__} has no member {member!r}; {how_to_lift(cls)}")
        case _:
            raise Malformed(f"{cls.__name__} is an enum and has no fields")


def _flags_of(cls: type[Flag], fields: Any) -> Flag:
    match fields:
        case {"value": int() as value, **rest} if not rest and type(value) is int:
            return cls(value)
        case {"value": value}:
            raise Malformed(f"{cls.__name__} has no flags {value!r}")
        case _:
            raise Malformed(f"{cls.__name__} is a flag and has no fields")


def _read_tuple(data: memoryview, unpack: Read) -> tuple[object, ...]:
    return tuple(_array(unpack(data)))


def _read_set(data: memoryview, unpack: Read) -> set[object]:
    items = _hashable(_array(unpack(data)))
    return _distinct(set(items), len(items))


def _read_frozenset(data: memoryview, unpack: Read) -> frozenset[object]:
    items = _hashable(_array(unpack(data)))
    return _distinct(frozenset(items), len(items))


def _read_pairs(data: memoryview, unpack: Read) -> dict[object, object]:
    flat = _array(unpack(data))
    return _distinct(dict(zip(_hashable(flat[::2]), flat[1::2], strict=True)), len(flat) // 2)


def _array(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Malformed(f"a list was to be here, not {type(value).__name__}")
    return value


def _hashable(items: list[Any]) -> list[Any]:
    if collide(items):
        raise Malformed("far too many elements or keys of one hash")
    return items


def _distinct(collection: Held, size: int) -> Held:
    if len(collection) != size:
        raise Malformed("elements or keys that are equal")
    return collection

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
from actorflow.checkpoint.codec.lowering import MAX_DEPTH, Lowering
from actorflow.checkpoint.codec.plain_data import is_plain
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.scalars import LEAF_READERS
from actorflow.checkpoint.codec.wire import Malformed, Refused, pack
from actorflow.errors import CodecError

__all__ = ["Codec"]

Held = TypeVar("Held", bound=Sized)
Read = Callable[[memoryview], Any]

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
            return self._unpack(data)
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
        return reader(data, self._unpack)

    def _read_object(self, data: memoryview, unpack: Read) -> object:
        name, fields = unpack(data)
        cls, rebuild = self._rebuilds.get(name) or self._rebuild_for(name)
        return rebuild(fields, cls)

    def _rebuild_for(self, name: str) -> tuple[type, Rebuild]:
        cls = self._class(name)
        if issubclass(cls, Enum):
            raise Malformed(f"{name} is an enum and has no fields")
        found = self._rebuilds[name] = (cls, self._shapes.get_structure_hook(cls))
        return found

    def _read_member(self, data: memoryview, unpack: Read) -> Enum:
        name, member = unpack(data)
        cls = self._class(name)
        if not issubclass(cls, Enum) or member not in cls.__members__:
            raise Malformed(f"{name} has no member {member!r}")
        return cls.__members__[member]

    def _read_flag(self, data: memoryview, unpack: Read) -> Flag:
        name, value = unpack(data)
        cls = self._class(name)
        if not issubclass(cls, Flag) or type(value) is not int:
            raise Malformed(f"{name} has no flags {value!r}")
        return cls(value)

    def _class(self, name: object) -> type:
        cls = self._registry.class_of(name) if isinstance(name, str) else None
        if cls is None:
            raise Malformed(
                f"the stored type {name!r} is not declared by this workflow; if it was renamed, set "
                f"__actorflow_name__ to the old name, else add it to WorkflowBuilder(state_types=[...])"
            )
        return cls


def _read_tuple(data: memoryview, unpack: Read) -> tuple[object, ...]:
    return tuple(_array(unpack(data)))


def _read_set(data: memoryview, unpack: Read) -> set[object]:
    items = _array(unpack(data))
    return _distinct(set(items), len(items))


def _read_frozenset(data: memoryview, unpack: Read) -> frozenset[object]:
    items = _array(unpack(data))
    return _distinct(frozenset(items), len(items))


def _read_pairs(data: memoryview, unpack: Read) -> dict[object, object]:
    flat = _array(unpack(data))
    return _distinct(dict(zip(flat[::2], flat[1::2], strict=True)), len(flat) // 2)


def _array(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Malformed(f"a list was to be here, not {type(value).__name__}")
    return value


def _distinct(collection: Held, size: int) -> Held:
    if len(collection) != size:
        raise Malformed("elements or keys that are equal")
    return collection

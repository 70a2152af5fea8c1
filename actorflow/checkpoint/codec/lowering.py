"""From any storable value to one that msgspec packs exactly: a walk by the exact run-time type of every value.

Plain data (what MessagePack keeps by itself) is checked and handed on as the same object, without a copy; everything else
becomes an extension. The quick walk takes every int and str for plain: msgspec raises on a huge int and on a lone
surrogate, and only then is the value walked again with `careful`, which gives those an extension too.

Not kept, and not promised: that two places of a value held the same object. They come back as equal ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum, Flag
from typing import Any

from cattrs import Converter
from msgspec import Raw
from msgspec.msgpack import Ext

from actorflow.checkpoint.codec import wire
from actorflow.checkpoint.codec.declared import Kind, kind_of
from actorflow.checkpoint.codec.instances import TakeApart
from actorflow.checkpoint.codec.plain_data import ATOMS
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.scalars import LEAF_WRITERS, write_int, write_text
from actorflow.checkpoint.codec.wire import Refused, collide, pack

__all__ = ["MAX_DEPTH", "Lowering"]

MAX_DEPTH = 100
"""How deep containers and objects may nest; well inside what the interpreter's own stack allows on the way back."""

_SAFE = ATOMS - {int, str}

Lower = Callable[[Any, int], object]
Versioned = tuple[()] | tuple[int]
"""What follows the fields of a value: the version of its class, unless that is 1."""


class _Lowers(dict[type, Lower]):
    """How to lower values, by exact type; what is met for the first time is looked up once."""

    def __init__(self, find: Callable[[type], Lower]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, cls: type) -> Lower:
        lower = self[cls] = self._find(cls)
        return lower


class Lowering:
    """One walk over values of a closed set of types.

    Args:
        registry: The classes that may be stored.
        shapes: The converter whose hooks take their instances apart.
        careful: Look into every int and str for what MessagePack cannot keep.
    """

    def __init__(self, registry: TypeRegistry, shapes: Converter, *, careful: bool) -> None:
        self._registry = registry
        self._shapes = shapes
        self._atoms = _SAFE if careful else ATOMS
        self._lowers = _Lowers(self._lower_for)
        self._lowers |= {
            list: self._list,
            dict: self._dict,
            tuple: self._tuple,
            set: self._set(wire.SET),
            frozenset: self._set(wire.FROZENSET),
            int: _leaf(write_int),
            str: _leaf(write_text),
            **{cls: _leaf(write) for cls, write in LEAF_WRITERS.items()},
        }

    def lower(self, value: object, depth: int = 0) -> object:
        """Give the packable form of a value.

        Raises:
            Refused: The value, or one inside it, cannot be stored.
        """
        cls = type(value)
        if cls in self._atoms:
            return value
        return self._lowers[cls](value, depth)

    def _list(self, items: list[object], depth: int) -> object:
        return self._items(items, depth)

    def _tuple(self, items: tuple[object, ...], depth: int) -> Ext:
        return Ext(wire.TUPLE, pack(self._items(items, depth)))

    def _items(self, items: Any, depth: int) -> Any:
        """Lower the items of a list or tuple; give the sequence itself if all of them are plain."""
        _check_depth(depth)
        atoms, lowers = self._atoms, self._lowers
        if atoms.issuperset(map(type, items)):
            return items
        lowered: list[object] | None = None
        index = 0
        try:
            for index, item in enumerate(items):  # the index is for the path of a refusal
                cls = type(item)
                if cls not in atoms and (form := lowers[cls](item, depth + 1)) is not item:
                    lowered = list(items) if lowered is None else lowered
                    lowered[index] = form
        except Refused as refused:
            raise refused.under(f"[{index}]")  # noqa: B904  the same refusal, one level further out
        return items if lowered is None else lowered

    def _dict(self, mapping: dict[object, object], depth: int) -> object:
        if not self._atoms.issuperset(map(type, mapping)) and not all(map(self._is_plain, mapping)):
            return self._pairs(mapping, depth)
        return self._values(mapping, depth, _item_segment)

    def _is_plain(self, key: object) -> bool:
        return type(key) in ATOMS and self.lower(key) is key

    def _values(self, mapping: dict[Any, object], depth: int, segment: Callable[[Any], str]) -> dict[Any, object]:
        """Lower the values of a mapping with plain keys; give the mapping itself if all of them are plain."""
        _check_depth(depth)
        atoms, lowers = self._atoms, self._lowers
        if atoms.issuperset(map(type, mapping.values())):
            return mapping
        lowered: dict[Any, object] | None = None
        key: object = None
        try:
            for key, item in mapping.items():  # the key is for the path of a refusal
                cls = type(item)
                if cls not in atoms and (form := lowers[cls](item, depth + 1)) is not item:
                    lowered = dict(mapping) if lowered is None else lowered
                    lowered[key] = form
        except Refused as refused:
            raise refused.under(segment(key))  # noqa: B904  the same refusal, one level further out
        return mapping if lowered is None else lowered

    def _pairs(self, mapping: dict[object, object], depth: int) -> Ext:
        _check_depth(depth)
        _check_hashes(mapping)
        flat: list[object] = []
        for key, item in mapping.items():
            flat.append(self._under(_key_segment, key, key, depth))
            flat.append(self._under(_item_segment, key, item, depth))
        return Ext(wire.PAIRS, pack(flat))

    def _under(self, segment: Callable[[object], str], key: object, value: object, depth: int) -> object:
        try:
            return self.lower(value, depth + 1)
        except Refused as refused:
            raise refused.under(segment(key))  # noqa: B904  the same refusal, one level further out

    def _set(self, code: int) -> Lower:
        def lower(elements: AbstractSet[object], depth: int) -> Ext:
            _check_depth(depth)
            _check_hashes(elements)
            if self._atoms.issuperset(map(type, elements)):
                packed: Iterator[bytes] = map(pack, elements)
            else:
                packed = (pack(self._under(_element_segment, item, item, depth)) for item in elements)
            # Sorted by their bytes: the order of a set differs from process to process, what is stored must not.
            return Ext(code, pack(list(map(Raw, sorted(packed)))))

        return lower

    def _lower_for(self, cls: type) -> Lower:
        name = self._registry.name_of(cls)
        if name is None:
            raise Refused(_unknown(cls, self._registry))
        version = self._registry.version_of(cls)
        versioned = () if version == 1 else (version,)
        if issubclass(cls, Flag):
            return _flag(cls, name, versioned)
        if issubclass(cls, Enum):
            return _member(cls, name, versioned)
        return self._object(name, self._shapes.get_unstructure_hook(cls), versioned)

    def _object(self, name: str, take_apart: TakeApart, versioned: Versioned) -> Lower:
        def lower(instance: object, depth: int) -> Ext:
            return Ext(wire.OBJECT, pack([name, self._values(take_apart(instance), depth, _field_segment), *versioned]))

        return lower


def _leaf(write: Callable[[Any], object]) -> Lower:
    return lambda value, _: write(value)


def _member(cls: type[Enum], name: str, versioned: Versioned) -> Lower:
    forms = {member: Ext(wire.MEMBER, pack([name, member, *versioned])) for member in cls.__members__}
    members = dict(cls.__members__)

    def lower(member: Enum, _: int) -> Ext:
        if members.get(member._name_) is not member:
            raise Refused(f"cannot store {_class_name(cls)} {member._name_!r}: it is not a declared member")
        return forms[member._name_]

    return lower


def _flag(cls: type[Flag], name: str, versioned: Versioned) -> Lower:
    def lower(flags: Flag, _: int) -> Ext:
        if cls(flags._value_) is not flags:
            raise Refused(f"cannot store {_class_name(cls)} {flags._value_!r}: its value does not lead back to it")
        return Ext(wire.FLAG, pack([name, write_int(flags._value_), *versioned]))

    return lower


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise Refused(
            f"cannot store a value nested more than {MAX_DEPTH} deep; does it contain itself? Store a flat form"
        )


def _check_hashes(elements: Collection[object]) -> None:
    if collide(elements):
        raise Refused("cannot store over a thousand elements or keys of one hash; give their class a better __hash__")


# Segments of the path to a value; they show keys of builtin types only, since a repr is the user's code.


def _shown(value: object) -> str:
    if type(value) not in ATOMS:
        return f"<{type(value).__qualname__}>"
    text = repr(value) if type(value) is not int or value.bit_length() < 256 else "<int>"
    return text if len(text) <= 60 else text[:57] + "..."


def _item_segment(key: object) -> str:
    return f"[{_shown(key)}]"


def _key_segment(key: object) -> str:
    return f".<key {_shown(key)}>"


def _element_segment(element: object) -> str:
    return f".<element {_shown(element)}>"


def _field_segment(name: str) -> str:
    return "" if name.startswith("=") else f".{name}"


# Why a type is refused.

_SUBCLASSED: tuple[type, ...] = (dict, list, tuple, set, frozenset, str, bytes, int, float, *LEAF_WRITERS)
_WAYS_OUT: Mapping[type, str] = {
    bytearray: "store bytes(value)",
    memoryview: "store bytes(value)",
    complex: "store its real and imag parts",
    range: "store list(value), or its start, stop and step",
}


def _unknown(cls: type, registry: TypeRegistry) -> str:
    return f"cannot store {_class_name(cls)}; {_way_out(cls, registry)}"


def _way_out(cls: type, registry: TypeRegistry) -> str:
    if cls in _WAYS_OUT:
        return _WAYS_OUT[cls]
    if kind_of(cls) not in (None, Kind.TYPEDDICT):
        return _declare(cls, registry)
    base = next((base for base in _SUBCLASSED if issubclass(cls, base)), None)
    if base is not None:
        return f"it is a subclass of {base.__name__}, which would come back as a plain one: convert it first"
    return "store the data it stands for: builtin values, or an attrs class or dataclass that the workflow declares"


def _declare(cls: type, registry: TypeRegistry) -> str:
    known = next((base for base in cls.__mro__ if registry.name_of(base)), None)
    why = (
        f"{known.__name__} is declared, but its subclasses are not implied"
        if known
        else "the workflow does not declare it"
    )
    return f"{why}: name {cls.__qualname__} in a handler's annotation or in WorkflowBuilder(state_types=[...])"


def _class_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"

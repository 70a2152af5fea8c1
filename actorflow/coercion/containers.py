"""Strict conversions of containers: from a list or dict, each element to its type; unchanged ones come back themselves."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin

from cattrs import IterableValidationError, IterableValidationNote

from actorflow.coercion.scalars import Misfit, got
from actorflow.core.types import describe

__all__ = ["DICTS", "LISTS", "SETS", "dict_hook", "kept", "list_hook", "set_hook", "tuple_hook"]

Structure = Callable[[object, Any], object]
Hook = Callable[[Any, Any], object]
Place = tuple[Any, object, object]
"""Where an element is, what it is, and the type it should have."""

LISTS = frozenset({list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable, abc.Reversible})
DICTS = frozenset({dict, abc.Mapping, abc.MutableMapping})
SETS: Mapping[type, type] = {set: set, frozenset: frozenset, abc.Set: frozenset, abc.MutableSet: set}


def list_hook(annotation: Any, structure: Structure) -> Hook:
    """Make the hook of a list or one of its abstract kin."""
    kind, element = get_origin(annotation) or annotation, _argument(annotation, 0)

    def convert(value: Any, _: object) -> object:
        if type(value) is not list and not (isinstance(value, kind) and isinstance(value, (list, tuple))):
            raise _unexpected(annotation, value)
        made = _each(annotation, ((index, item, element) for index, item in enumerate(value)), structure)
        return kept(value, tuple(made) if isinstance(value, tuple) else made)

    return convert


def tuple_hook(annotation: Any, structure: Structure) -> Hook:
    """Make the hook of a tuple of one type or of several."""
    arguments = get_args(annotation) if hasattr(annotation, "__args__") else (Any, ...)
    uniform = arguments[1:] == (...,)

    def convert(value: Any, _: object) -> object:
        if not isinstance(value, (list, tuple)):
            raise _unexpected(annotation, value)
        kinds = arguments[:1] * len(value) if uniform else arguments
        if len(kinds) != len(value):
            raise Misfit(f"expected {len(kinds)} items for {describe(annotation)}, got {len(value)}")
        places = ((index, item, kind) for index, (item, kind) in enumerate(zip(value, kinds, strict=True)))
        return kept(value, tuple(_each(annotation, places, structure)))

    return convert


def set_hook(annotation: Any, structure: Structure) -> Hook:
    """Make the hook of a set or frozenset; a list with equal elements is refused, since one would be lost."""
    kind, element = get_origin(annotation) or annotation, _argument(annotation, 0)

    def convert(value: Any, _: object) -> object:
        if type(value) is not list and not (isinstance(value, kind) and isinstance(value, (set, frozenset))):
            raise _unexpected(annotation, value)
        items = list(value)
        made = _each(annotation, ((index, item, element) for index, item in enumerate(items)), structure)
        if all(new is old for new, old in zip(made, items, strict=True)) and type(value) is not list:
            return value
        collected = SETS[kind](made)
        if len(collected) != len(items):
            raise Misfit(f"expected different elements for {describe(annotation)}, {got(value)}")
        return collected

    return convert


def dict_hook(annotation: Any, structure: Structure) -> Hook:
    """Make the hook of a dict or one of its abstract kin."""
    key_kind, item_kind = _argument(annotation, 0), _argument(annotation, 1)

    def convert(value: Any, _: object) -> object:
        if not isinstance(value, dict):
            raise _unexpected(annotation, value)
        keys = _each(annotation, ((key, key, key_kind) for key in value), structure)
        items = _each(annotation, ((key, item, item_kind) for key, item in value.items()), structure)
        made = dict(zip(keys, items, strict=True))
        if len(made) != len(value):
            raise Misfit(f"expected different keys for {describe(annotation)}, {got(value)}")
        return kept(value, made)

    return convert


def kept(value: Any, made: Any) -> Any:
    """Give the value itself if what was made from it holds the very same things."""
    if type(made) is not type(value) or len(made) != len(value):
        return made
    pairs = zip(_contents(value), _contents(made), strict=True)
    return value if all(old is new for old, new in pairs) else made


def _contents(container: Any) -> Iterable[object]:
    return [part for item in container.items() for part in item] if isinstance(container, dict) else container


def _argument(annotation: object, index: int) -> object:
    arguments = get_args(annotation)
    return arguments[index] if arguments else Any


def _unexpected(annotation: object, value: object) -> Misfit:
    return Misfit(f"expected {describe(annotation)}, {got(value)}")


def _each(annotation: Any, places: Iterable[Place], structure: Structure) -> list[object]:
    """Convert every element, so that all problems are told at once."""
    made: list[object] = []
    errors: list[Exception] = []
    for index, item, kind in places:
        try:
            made.append(structure(item, kind))
        except Exception as error:  # noqa: BLE001  constructors and validators of declared classes raise what they like
            error.add_note(IterableValidationNote(f"at {index!r}", index, kind))
            errors.append(error)
    if errors:
        raise IterableValidationError(f"while reading {describe(annotation)}", errors, annotation)
    return made

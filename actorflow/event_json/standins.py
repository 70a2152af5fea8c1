"""What the JSON form of events shares in both directions: the tag, names of classes, stand-ins for unknown ones.

A value that JSON has no exact form for is an object with the key ``"$"``, whose value says what it is:

==============================================  ===========================================================
form                                            stands for
==============================================  ===========================================================
``{"$": "tuple", "items": [...]}``              a tuple; likewise set and frozenset
``{"$": "dict", "items": [[key, value], ...]}``  a dict with keys that are no plain str, or with the key ``"$"``
``{"$": "float", "text": "nan"}``               nan, inf, -inf; likewise int (hexadecimal, beyond 64 bits), Decimal,
                                                UUID, complex and str (lone surrogates, escaped)
``{"$": "bytes", "base64": "..."}``             bytes; likewise bytearray
``{"$": "datetime", "iso": "..."}``             a datetime, with ``zone`` and ``fold`` where needed; likewise date, time
``{"$": "timedelta", "days": 1, ...}``          a timedelta
``{"$": "object", "class": ..., "fields": {}}``  an attrs, dataclass, NamedTuple or pydantic instance
``{"$": "enum", "class": ..., "name": ...}``    a member of an enum, with its ``value``
``{"$": "exception", "class": ..., ...}``       an exception: ``message``, ``args``, and notes, attributes, cause if any
``{"$": "type", "class": ..., "args": [...]}``  a type; ``args`` where it is subscribed
``{"$": "repr", "class": ..., "text": ...}``    anything else
==============================================  ===========================================================

A class is named by ``__actorflow_name__`` where it has one, else by module and qualified name, that of a builtin without
its module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["TAG", "Opaque", "OpaqueError", "class_name", "has_cached_hash"]

TAG = "$"


@attrs.frozen
class Opaque:
    """Stands in for a value whose class the reader of an event was not given, or that has no JSON form.

    Written to JSON again, it gives what it was read from, so that a relay loses nothing.

    Attributes:
        type_name: The class; of a type object, the type itself.
        fields: What was written of the value: the fields of an object, ``name`` and ``value`` of an enum's member, ``args``
            of a type, ``text`` (its repr) of anything else.
        form: What it was: "object", "enum", "type" or "repr".
    """

    type_name: str
    # Not hashed: it stands where a hashable value stood, and a dict is none.
    fields: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    form: str = "object"


class OpaqueError(Exception):
    """Stands in for an exception whose class the reader of an event was not given.

    Attributes:
        type_name: Its class.
        message: What ``str`` said of it.
        details: What else was written of it: ``args``, and ``attributes`` and ``cause`` where it had them.
    """

    def __init__(self, type_name: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        self.type_name = type_name
        self.message = message
        self.details = dict(details or {})
        super().__init__(f"{type_name}: {message}")


def class_name(named: Any) -> str:
    """Name a class, or a special form of typing, the same way in every process."""
    own = getattr(named, "__dict__", {}).get("__actorflow_name__")
    if isinstance(own, str) and own:
        return own
    name = getattr(named, "__qualname__", None) or getattr(named, "_name", None) or named.__name__
    module = named.__module__
    return str(name) if module == "builtins" else f"{module}.{name}"


def has_cached_hash(cls: type) -> bool:
    """Whether attrs keeps an instance's hash in a slot that must exist before the first use."""
    return "_attrs_cached_hash" in getattr(getattr(cls.__hash__, "__code__", None), "co_names", ())

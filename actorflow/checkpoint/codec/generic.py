"""Reading stored values without the workflow that stored them, for people who look.

A value of a class that is not at hand becomes a `Record`: the stored name of its type, and its fields. Nothing stored is
imported for it, and nothing found by name outside of the types that the caller gives (P9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.values import Codec
from actorflow.checkpoint.codec.wire import Malformed

__all__ = ["GenericCodec", "Record"]

_Read = Callable[[memoryview], Any]


@attrs.frozen(repr=False)
class Record:
    """A stored value of a class that is not at hand.

    Attributes:
        type_name: The stored name of its class.
        fields: Its stored fields; of an enum member ``{"member": name}``, of flags ``{"value": int}``.
    """

    type_name: str
    fields: Mapping[str, Any] = attrs.field(hash=False)

    def __repr__(self) -> str:
        return f"{self.type_name}({', '.join(f'{name}={value!r}' for name, value in self.fields.items())})"


class GenericCodec(Codec):
    """A codec that reads what is not one of some types, or no longer fits its type, into records.

    Each part is read once, from the inside out, so that no stored value takes longer than its size.

    Args:
        types: Annotations, as `actorflow.WorkflowBuilder` takes for its ``state_types``.

    Raises:
        StateTypeError: Two classes have one stored name, or an annotation cannot be resolved.
    """

    def __init__(self, types: Iterable[object] = ()) -> None:
        super().__init__(TypeRegistry(types))

    def _read_object(self, data: memoryview, unpack: _Read) -> object:
        return _read(super()._read_object, data, unpack, None)

    def _read_member(self, data: memoryview, unpack: _Read) -> Any:
        return _read(super()._read_member, data, unpack, "member")

    def _read_flag(self, data: memoryview, unpack: _Read) -> Any:
        return _read(super()._read_flag, data, unpack, "value")


def _read(
    strictly: Callable[[memoryview, _Read], object], data: memoryview, unpack: _Read, field: str | None
) -> object:
    name, content, *version = unpack(data)
    fields = content if field is None else {field: content}
    if not isinstance(name, str) or not isinstance(fields, dict):
        raise Malformed("an object that has no type name, or no fields")
    try:
        return strictly(data, lambda _: [name, dict(content) if field is None else content, *version])
    except Exception:  # noqa: BLE001 - whatever the class made of it: it is shown as it is stored
        return Record(name, fields)

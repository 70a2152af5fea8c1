"""The contents of a checkpoint as values, without the workflow that made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from actorflow.checkpoint.codec.generic import GenericCodec
from actorflow.checkpoint.codec.sections import CHAIN_KEY
from actorflow.core.snapshot import (
    EXECUTORS,
    INFLIGHT,
    INPUTS,
    JOINS,
    OUTPUTS,
    REQUESTS,
    RUN,
    STATE,
    TIMERS,
    split_table,
)
from actorflow.errors import CodecError

__all__ = ["StoredMessage", "StoredOutput", "StoredRequest", "StoredTimer", "open_items", "open_sections"]

_ITEMS = (INFLIGHT[0], OUTPUTS)


@attrs.frozen
class StoredRequest:
    """An open request as it is stored.

    Attributes:
        id: What to answer to.
        executor_id: The executor that asks.
        data: The request.
        response_type: Description of the type of an answer.
    """

    id: str
    executor_id: str
    data: Any
    response_type: str


@attrs.frozen
class StoredMessage:
    """A message in flight as it is stored.

    Attributes:
        target_id: The executor that will handle it.
        value: The message.
        source_ids: The executors it came from.
        request_id: The request that it answers, if it is an answer.
    """

    target_id: str
    value: Any
    source_ids: tuple[str, ...] = ()
    request_id: str | None = None


@attrs.frozen
class StoredOutput:
    """An output as it is stored.

    Attributes:
        executor_id: Whose it is.
        value: The value.
        kind: output, intermediate or hidden.
    """

    executor_id: str
    value: Any
    kind: str


@attrs.frozen
class StoredTimer:
    """A delayed message as it is stored.

    Attributes:
        due: When it will be in flight, in seconds since 1970 UTC.
        target_id: The executor it goes to, or the join.
        value: The message.
        source_ids: The executors it came from.
    """

    due: float
    target_id: str
    value: Any
    source_ids: tuple[str, ...]


def open_sections(codec: GenericCodec, sections: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Decode sections that hold one value each, by table and name; those of messages and outputs are left out.

    Those of workflows inside executors are all among the others, under their section keys.

    Raises:
        CodecError: One is damaged; names it.
    """
    tables: dict[str, dict[str, Any]] = {STATE: {}, EXECUTORS: {}, JOINS: {}, REQUESTS: {}, TIMERS: {}, "": {}}
    for key, data in sections.items():
        table, _, name = key.partition("/")
        _, own = split_table(table)
        if key == CHAIN_KEY or own == RUN[0] or table in _ITEMS:
            continue
        value = codec.decode(data, key)
        if own in _SHAPES:
            value = _shaped(key, partial(_SHAPES[own], codec, value))
        if table in tables:
            tables[table][name] = value
        else:
            tables[""][key] = value
    return tables


def open_items(codec: GenericCodec, contents: Mapping[str, bytes]) -> dict[str, list[tuple[bytes, Any]]]:
    """Messages in flight and outputs, each with its stored form, in their order.

    Raises:
        CodecError: They are damaged; names the section.
    """
    items: dict[str, list[tuple[bytes, Any]]] = {table: [] for table in _ITEMS}
    for key in sorted(contents, key=_superstep):
        table = key.partition("/")[0]
        if table in _ITEMS:
            lowered = codec.decode(contents[key], key)
            items[table] += _shaped(key, partial(_each, codec, lowered, _output if table == OUTPUTS else _message))
    return items


def _superstep(key: str) -> int:
    name = key.partition("/")[2]
    return int(name) if name.isdecimal() else 0


def _shaped(key: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(key, f"does not have the form of such a section ({error})") from error


def _each(codec: GenericCodec, lowered: Any, shape: Callable[[GenericCodec, Any], Any]) -> list[tuple[bytes, Any]]:
    return [(codec.encode(each, "checkpoint"), shape(codec, each)) for each in lowered]


# What follows may be followed by more, which later versions write.


def _request(codec: GenericCodec, lowered: Any) -> StoredRequest:
    request_id, executor_id, data, type_name, *_ = lowered
    return StoredRequest(request_id, executor_id, codec.decode(data, f"request {request_id!r}"), type_name)


def _message(codec: GenericCodec, lowered: Any) -> StoredMessage:
    target_id, data, sources, request, *_ = lowered
    value = codec.decode(data, f"message to {target_id!r}")
    return StoredMessage(target_id, value, tuple(sources), None if request is None else request[0])


def _output(codec: GenericCodec, lowered: Any) -> StoredOutput:
    executor_id, data, kind, *_ = lowered
    return StoredOutput(executor_id, codec.decode(data, f"output of {executor_id!r}"), kind)


def _timer(codec: GenericCodec, lowered: Any) -> StoredTimer:
    due, *rest = lowered
    if len(rest) == 1:
        message = _message(codec, rest[0])
        return StoredTimer(due, message.target_id, message.value, message.source_ids)
    join_id, source_id, data, *_ = rest
    return StoredTimer(due, join_id, codec.decode(data, f"message to join {join_id!r}"), (source_id,))


def _messages(codec: GenericCodec, lowered: Any) -> list[StoredMessage]:
    return [_message(codec, each) for each in lowered]


def _input(codec: GenericCodec, lowered: Any) -> StoredMessage:
    executor_id, data, *_ = lowered
    return StoredMessage(executor_id, codec.decode(data, f"input of {executor_id!r}"))


_SHAPES: Mapping[str, Callable[[GenericCodec, Any], object]] = {
    REQUESTS: _request,
    TIMERS: _timer,
    INFLIGHT[0]: _messages,
    INPUTS: _input,
}

"""Values without parts that MessagePack has no exact form for: big ints, odd strings, times, Decimal, UUID.

Each has a function to an extension and one back. Bytes that this module did not write make
a reader raise whatever the constructor of the type raises.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID, SafeUUID

from msgspec.msgpack import Ext

from actorflow.checkpoint.codec import wire
from actorflow.checkpoint.codec.wire import Malformed, Refused, pack

__all__ = ["LEAF_READERS", "LEAF_WRITERS", "write_int", "write_text"]

Unpack = Callable[[memoryview], Any]
"""Decodes the payload of an extension."""


def write_int(value: int) -> object:
    """Keep an int of any size."""
    if -(2**63) <= value < 2**64:
        return value
    return Ext(wire.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def write_text(value: str) -> object:
    """Keep a str, lone surrogates included."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return Ext(wire.SURROGATES, value.encode("utf-8", "surrogatepass"))
    return value


def _write_datetime(value: datetime) -> Ext:
    moment = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return Ext(wire.DATETIME, pack([*moment, value.fold, _write_zone(value.tzinfo)]))


def _write_date(value: date) -> Ext:
    return Ext(wire.DATE, pack([value.year, value.month, value.day]))


def _write_time(value: time) -> Ext:
    moment = (value.hour, value.minute, value.second, value.microsecond)
    return Ext(wire.TIME, pack([*moment, value.fold, _write_zone(value.tzinfo)]))


def _write_timedelta(value: timedelta) -> Ext:
    return Ext(wire.TIMEDELTA, pack([value.days, value.seconds, value.microseconds]))


def _write_zone(zone: tzinfo | None) -> Ext | None:
    if zone is None:
        return None
    if type(zone) is timezone:
        return _write_timezone(zone)
    if type(zone) is zoneinfo.ZoneInfo:
        return _write_zoneinfo(zone)
    raise Refused(
        f"cannot store a time zone of type {type(zone).__qualname__}; use datetime.timezone or zoneinfo.ZoneInfo"
    )


def _write_timezone(zone: timezone) -> Ext:
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # tells a name given from one made up
    return Ext(wire.TIMEZONE, pack([offset.days, offset.seconds, offset.microseconds, *map(write_text, name)]))


def _write_zoneinfo(zone: zoneinfo.ZoneInfo) -> Ext:
    if zone.key not in _known_zones():
        raise Refused(f"cannot store a ZoneInfo with the key {zone.key!r}, which the time zone database does not have")
    return Ext(wire.ZONE, zone.key.encode())


@functools.cache
def _known_zones() -> frozenset[str]:
    """List the zones of this machine: a stored key is only ever looked up, since ZoneInfo opens and imports by it."""
    return frozenset(zoneinfo.available_timezones())


def _write_decimal(value: Decimal) -> Ext:
    return Ext(wire.DECIMAL, str(value).encode())


def _write_uuid(value: UUID) -> Ext:
    if value.is_safe is SafeUUID.unknown:
        return Ext(wire.UUID_BYTES, value.bytes)
    return Ext(wire.UUID_BYTES, value.bytes + (b"\0" if value.is_safe is SafeUUID.safe else b"\1"))


LEAF_WRITERS: Mapping[type, Callable[[Any], Ext]] = {
    datetime: _write_datetime,
    date: _write_date,
    time: _write_time,
    timedelta: _write_timedelta,
    timezone: _write_timezone,
    zoneinfo.ZoneInfo: _write_zoneinfo,
    Decimal: _write_decimal,
    UUID: _write_uuid,
}


def _read_int(data: memoryview, _: Unpack) -> int:
    return int.from_bytes(data, "big", signed=True)


def _read_text(data: memoryview, _: Unpack) -> str:
    return str(data, "utf-8", "surrogatepass")


def _read_datetime(data: memoryview, unpack: Unpack) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = unpack(data)
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _read_date(data: memoryview, unpack: Unpack) -> date:
    year, month, day = unpack(data)
    return date(year, month, day)


def _read_time(data: memoryview, unpack: Unpack) -> time:
    hour, minute, second, microsecond, fold, zone = unpack(data)
    return time(hour, minute, second, microsecond, zone, fold=fold)


def _read_timedelta(data: memoryview, unpack: Unpack) -> timedelta:
    days, seconds, microseconds = unpack(data)
    return timedelta(days, seconds, microseconds)


def _read_timezone(data: memoryview, unpack: Unpack) -> timezone:
    days, seconds, microseconds, *name = unpack(data)
    return timezone(timedelta(days, seconds, microseconds), *name)


def _read_zone(data: memoryview, _: Unpack) -> zoneinfo.ZoneInfo:
    key = str(data, "utf-8")
    if key not in _known_zones():
        raise Malformed(f"the time zone {key!r} is not in the time zone database of this machine")
    return zoneinfo.ZoneInfo(key)


def _read_decimal(data: memoryview, _: Unpack) -> Decimal:
    return Decimal(str(data, "ascii"))


def _read_uuid(data: memoryview, _: Unpack) -> UUID:
    raw = bytes(data)
    match raw[16:]:
        case b"":
            return UUID(bytes=raw)
        case b"\0":
            return UUID(bytes=raw[:16], is_safe=SafeUUID.safe)
        case b"\1":
            return UUID(bytes=raw[:16], is_safe=SafeUUID.unsafe)
        case _:
            raise Malformed("a UUID has 16 bytes")


LEAF_READERS: Mapping[int, Callable[[memoryview, Unpack], object]] = {
    wire.BIG_INT: _read_int,
    wire.SURROGATES: _read_text,
    wire.DATETIME: _read_datetime,
    wire.DATE: _read_date,
    wire.TIME: _read_time,
    wire.TIMEDELTA: _read_timedelta,
    wire.TIMEZONE: _read_timezone,
    wire.ZONE: _read_zone,
    wire.DECIMAL: _read_decimal,
    wire.UUID_BYTES: _read_uuid,
}

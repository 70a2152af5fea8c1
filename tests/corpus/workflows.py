"""The workflows whose checkpoints the corpus keeps, and how each is brought to the point where it was left.

A class or handler changed here is a change of the code that reads the corpus, as any user may make it: it needs an upcaster,
never a new corpus.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, Never, TypedDict

import attrs
import pydantic

from actorflow import Executor, Upcaster, WorkflowBuilder, WorkflowContext, handler, response_handler


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Point:
    x: int
    y: float


@dataclasses.dataclass
class Line:
    start: Point
    end: Point


class Pair(NamedTuple):
    left: Any
    right: Any


class Shape(TypedDict):
    points: list[Point]


class Model(pydantic.BaseModel):
    name: str
    colour: Colour = Colour.RED


@attrs.frozen
class Versioned:
    __actorflow_version__ = 2
    a: int


VALUES: dict[str, Any] = {
    "none": None,
    "bools": [True, False],
    "ints": [0, -1, 127, 2**63 - 1, -(2**63), 2**64, -(2**100)],
    "floats": [0.0, -0.0, 1.5, math.inf, -math.inf],
    "texts": ["", "abc", "ünï", "\ud800"],
    "bytes": [b"", b"\x00\xff"],
    "tuple": (1, ("a", None)),
    "list": [[], [1, [2]]],
    "dict": {"a": 1, 1: "a", (1, 2): {}, None: [], 2**70: 1, 1.5: 2},
    "sets": [set(), {1, 2, 3}, frozenset({("a", 1), ("b", 2)})],
    "datetimes": [
        datetime(2026, 11, 24, 12, 30, 15, 123456),  # noqa: DTZ001
        datetime(2026, 11, 24, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30), "IST")),
    ],
    "dates": [date(1, 1, 1), date(9999, 12, 31)],
    "times": [time(1, 2, 3, 4), time(1, tzinfo=UTC)],
    "timedeltas": [timedelta(0), timedelta(days=-1, microseconds=1)],
    "zones": [UTC, zoneinfo.ZoneInfo("Europe/Berlin")],
    "decimals": [Decimal("1.10"), Decimal("-0"), Decimal("1e999"), Decimal("Infinity")],
    "uuid": uuid.UUID(int=2**127 + 1),
    "enums": [Colour.RED, Colour.BLUE, Access.READ | Access.WRITE, Access(0)],
    "attrs": Point(1, 2.0),
    "int in a float field": Point(1, 2),
    "dataclass": Line(Point(0, 0.5), Point(1, 1.5)),
    "namedtuple": Pair(1, Pair("x", None)),
    "typeddict": {"points": [Point(3, 4.0)]},
    "pydantic": Model(name="m"),
    "versioned": Versioned(1),
}


class Keeper(Executor):
    @handler
    async def keep(self, name: str, ctx: WorkflowContext[Never, str]) -> None:
        for key, value in VALUES.items():
            ctx.set_state(key, value)
        await ctx.yield_output(name)


def values(storage: Any) -> Any:
    types = [Colour, Access, Point, Line, Pair, Shape, Model, Versioned]
    builder = WorkflowBuilder(
        name="values", start_executor=Keeper("keeper"), state_types=types, checkpoint_storage=storage
    )
    return builder.build(id="values")


# Messages of one class, as it was when the corpus was written and as it might become.


@attrs.frozen
class Parcel:
    label: str
    weight: int = 1


@attrs.frozen
class Leave:
    granted: bool


@attrs.frozen
class Package:
    __actorflow_version__ = 2
    label: str
    grams: int


@attrs.frozen
class Permit:
    granted: bool


def _in_grams(fields: dict[str, Any]) -> dict[str, Any]:
    return {"label": fields["label"], "grams": 1000 * fields["weight"]}


@attrs.frozen
class Era:
    """The classes of messages at one time, and what leads there from the first."""

    parcel: Any
    leave: Any
    upcasters: tuple[Upcaster, ...] = ()

    def make(self, label: str, kilos: int = 1) -> Any:
        return self.parcel(label, kilos if self.parcel is Parcel else 1000 * kilos)


FIRST = Era(Parcel, Leave)
LATER = Era(
    Package,
    Permit,
    (
        Upcaster("Parcel", "Package"),
        Upcaster("Leave", Permit),
        Upcaster("Package", version=1, convert=_in_grams),
    ),
)


def weight(parcel: Any) -> int:
    """Kilos, whatever the class counts in."""
    return parcel.weight if isinstance(parcel, Parcel) else parcel.grams // 1000


def depot(storage: Any, era: Era, *, id: str = "depot", broken: bool = False) -> Any:  # noqa: A002
    """Splits a parcel; one half comes round later, so that a join waits; asks for leave; counts in executor state."""
    parcel, leave = era.parcel, era.leave

    class Split(Executor):
        state: list[parcel]

        @handler
        async def split(self, message: parcel, ctx: WorkflowContext[parcel]) -> None:
            self.state.append(message)
            ctx.set_state("seen", (ctx.get_state("seen") or 0) + 1)
            ctx.set_state(f"parcel {message.label}", message)
            ctx.send_message(message)

    class Count(Executor):
        def __init__(self, id: str) -> None:  # noqa: A002
            super().__init__(id)
            self.kilos: dict[str, int] = {}

        @handler
        async def count(self, message: parcel, ctx: WorkflowContext[parcel, str]) -> None:
            self.kilos[message.label] = weight(message)
            ctx.send_message(message)
            await ctx.yield_output(f"counted {message.label}")

        async def on_checkpoint_save(self) -> Mapping[str, Any]:
            return {"kilos": dict(self.kilos)}

        async def on_checkpoint_restore(self, state: Mapping[str, Any]) -> None:
            self.kilos = dict(state.get("kilos", {}))

    class Detour(Executor):
        @handler
        async def go(self, message: parcel, ctx: WorkflowContext[parcel]) -> None:
            if broken and self.id == "detour":
                raise OSError("the road is closed")
            ctx.send_message(message)

    class Customs(Executor):
        @handler
        async def ask(self, parcels: list[parcel], ctx: WorkflowContext[Never, str]) -> None:
            for number, each in enumerate(parcels):
                ctx.request_info(each, leave if number else list[leave], request_id=f"{each.label} {number}")

        @response_handler
        async def one(self, request: parcel, answer: leave, ctx: WorkflowContext[Never, str]) -> None:
            await ctx.yield_output(f"{request.label} of {weight(request)} kg: {answer.granted}")

        @response_handler
        async def many(self, request: parcel, answers: list[leave], ctx: WorkflowContext[Never, str]) -> None:
            granted = [answer.granted for answer in answers]
            await ctx.yield_output(f"{request.label} of {weight(request)} kg: {granted}")

    return (
        WorkflowBuilder(
            name="depot", start_executor=Split("split"), checkpoint_storage=storage, upcasters=era.upcasters
        )
        .add_fan_out_edges("split", [Count("count"), Detour("detour")])
        .add_edge("detour", Detour("longer detour"))
        .add_fan_in_edges(["count", "longer detour"], Customs("customs"))
        .build(id=id)
    )

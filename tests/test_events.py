"""Every kind of event survives the way to JSON and back, whatever values it carries, and JSON says so plainly (R13)."""

import collections
import contextlib
import dataclasses
import enum
import json
import math
import string
import sys
import threading
import typing
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NewType, TypedDict, Union
from uuid import UUID

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow import errors
from actorflow.event_json import reading as json_reading
from actorflow.events import (
    RUNTIME_KINDS,
    CheckpointSavedEvent,
    ExecutorCompletedEvent,
    ExecutorFailedEvent,
    FailedEvent,
    MessageDroppedEvent,
    Opaque,
    OpaqueError,
    OutputEvent,
    RequestInfoEvent,
    StartedEvent,
    StatusEvent,
    UnknownEvent,
    WorkflowEvent,
    WorkflowRunState,
    from_json,
    to_json,
)


class Colour(enum.Enum):
    RED = "red"
    ROT = "red"  # noqa: PIE796 - an alias
    PAIR = (1, "two")


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    HI = "hi"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Draft:
    text: str
    parts: tuple[Any, ...] = ()


@attrs.define(slots=False)
class Doubling:
    n: int = attrs.field(converter=lambda n: n * 2)


@attrs.frozen(cache_hash=True)
class Hashed:
    n: int


@dataclasses.dataclass
class Order:
    id: int
    lines: list[Any] = dataclasses.field(default_factory=list)


class Point(NamedTuple):
    x: Any
    y: Any = 0


class Box(typing.Generic[typing.TypeVar("T")]):
    pass


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    size: int = 1
    _seen: int = pydantic.PrivateAttr(default=0)


class Refusal(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        self.code = code
        self.why = why
        super().__init__(f"refused with {code}: {why}")


@attrs.define
class AttrsError(Exception):
    code: int


class DiskError(OSError):
    pass


UserId = NewType("UserId", str)

TYPES = (
    *(Colour, Level, Word, Rights, Draft, Doubling, Hashed, Order, Point, Box, Model),
    *(Refusal, AttrsError, DiskError, UserId),
)


@attrs.frozen(kw_only=True)
class Progress(WorkflowEvent):
    type: ClassVar[str] = "progress"

    done: int
    of: int = 100
    extra: Any = None


KINDS = sorted(RUNTIME_KINDS.values(), key=lambda kind: kind.type)


def there_and_back(value: Any, types: Any = TYPES) -> Any:
    event = from_json(to_json(OutputEvent(executor_id="e", data=value)), types)
    assert isinstance(event, OutputEvent)
    return event.data


def same(left: Any, right: Any) -> bool:
    """Equal all the way down, with equal types; exceptions by what they say."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, (datetime, time)):
        return left.isoformat() == right.isoformat() and (left.fold, left.tzname()) == (right.fold, right.tzname())
    if isinstance(left, BaseException):
        return same((left.args, vars(left), str(left)), (right.args, vars(right), str(right)))
    if attrs.has(type(left)):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in attrs.fields(type(left)))
    if dataclasses.is_dataclass(left):
        return same(vars(left), vars(right))
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    return bool(left == right)


@contextlib.contextmanager
def refusal() -> Iterator[None]:
    """Let a refusal of the text pass, and no other exception."""
    try:
        yield
    except ValueError as error:
        if "not the JSON of an event" not in str(error):
            raise


# Generated values.

keys = st.text(max_size=5) | st.just("$") | st.integers() | st.booleans() | st.none() | st.tuples(st.text(max_size=3))
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(max_size=10)
    | st.text(st.characters(categories=["Cs", "Lu"]), max_size=4)
    | st.binary(max_size=10)
    | st.datetimes(
        timezones=st.none() | st.timezone_keys(allow_prefix=False).map(zoneinfo.ZoneInfo), allow_imaginary=False
    )
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.sampled_from([*Colour, *Level, *Word, Rights.READ | Rights.WRITE, Rights(0), int, list[int], Draft, UserId])
)
hashables = st.recursive(
    st.integers() | st.text(max_size=3) | st.sampled_from(list(Colour)),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3) | st.builds(Point, inner, inner),
    max_leaves=4,
)
raised = st.builds(
    lambda cls, args: cls(*args),
    st.sampled_from([ValueError, KeyError, RuntimeError, errors.MessageTypeError]),
    st.lists(st.text(max_size=5) | st.integers(), max_size=3),
) | st.builds(Refusal, st.integers(), why=st.text(max_size=5))
values = st.recursive(
    leaves | st.sets(hashables, max_size=3) | st.frozensets(hashables, max_size=3) | raised,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.builds(Draft, st.text(max_size=5), st.tuples(inner))
        | st.builds(Order, st.integers(), st.lists(inner, max_size=2))
        | st.builds(Point, inner, inner)
    ),
    max_leaves=8,
)

FIELDS = {
    str: st.text(max_size=8),
    bool: st.booleans(),
    int: st.integers(0, 2**40),
    float: st.floats(0, 1e12),
    float | None: st.none() | st.floats(allow_nan=False),
    str | None: st.none() | st.text(max_size=8),
    tuple[str, ...]: st.lists(st.text(max_size=5), max_size=2).map(tuple),
    tuple[Any, ...]: st.lists(values, max_size=3).map(tuple),
    WorkflowRunState: st.sampled_from(WorkflowRunState),
    BaseException: raised,
    Any: values,
}


def of_kind(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: FIELDS[hints[field.name]] for field in attrs.fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
@given(data=st.data())
def test_every_kind_of_event_round_trips_with_any_values(kind: Any, data: Any) -> None:
    """R13."""
    event = data.draw(of_kind(kind))
    text = to_json(event)
    back = from_json(text, TYPES)
    assert same(event, back)
    text.encode()
    assert list(json.loads(text))[:6] == ["type", "run_id", "sequence", "time", "superstep", "path"]


@given(st.integers(), values)
def test_a_users_event_round_trips_when_its_class_is_given(done: int, extra: Any) -> None:
    event = Progress(run_id="r", sequence=3, time=1.5, superstep=2, path=("outer",), done=done, extra=extra)
    assert same(from_json(to_json(event), [Progress, *TYPES]), event)


@given(values)
def test_a_relay_that_knows_no_class_loses_nothing(value: Any) -> None:
    event = Progress(done=1, extra=value)
    relayed = to_json(from_json(to_json(event)))
    assert same(from_json(relayed, [Progress, *TYPES]), event)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
    )
)
def test_any_json_is_an_event_or_a_value_error(node: Any) -> None:
    with refusal():
        assert isinstance(from_json(json.dumps(node)), WorkflowEvent)


forms = st.sampled_from([*json_reading.READERS])
parts = st.sampled_from(
    [
        *("items", "text", "base64", "iso", "zone", "zone_name", "fold", "days", "seconds", "microseconds", "class"),
        *("fields", "name", "value", "message", "args", "attributes", "notes", "cause", "set", "extra", "private"),
    ]
)
junk = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(["ValueError", "list", "test_events.Draft", "|"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(parts, inner, max_size=4)
        | st.builds(lambda form, rest: {"$": form} | rest, forms, st.dictionaries(parts, inner, max_size=5))
    ),
)


@given(junk)
def test_a_tagged_form_that_nobody_wrote_is_a_value_or_a_value_error(node: Any) -> None:
    with refusal():
        from_json(json.dumps({"type": "output", "executor_id": "e", "data": node}), TYPES)


# What the text looks like.


def test_the_text_reads_like_plain_json() -> None:
    event = OutputEvent(
        run_id="r1",
        sequence=7,
        time=12.5,
        superstep=2,
        path=("outer",),
        executor_id="writer",
        data={"n": [1, None, "é"]},
    )
    assert to_json(event) == (
        '{"type": "output", "run_id": "r1", "sequence": 7, "time": 12.5, "superstep": 2, "path": ["outer"], '
        '"delivery_id": null, "executor_id": "writer", "data": {"n": [1, null, "é"]}, "attempt": 1}'
    )


def test_typed_fields_are_plain_in_the_text_and_typed_after_it() -> None:
    status = StatusEvent(status=WorkflowRunState.IDLE)
    assert json.loads(to_json(status))["status"] == "IDLE"
    back = from_json(to_json(status))
    assert isinstance(back, StatusEvent)
    assert back.status is WorkflowRunState.IDLE
    completed = ExecutorCompletedEvent(executor_id="e", sent=((1, 2), "x"), outputs=())
    assert json.loads(to_json(completed))["sent"] == [{"$": "tuple", "items": [1, 2]}, "x"]
    assert from_json(to_json(completed)) == completed


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ((1, 2), {"$": "tuple", "items": [1, 2]}),
        ({3}, {"$": "set", "items": [3]}),
        (b"\x00\xff", {"$": "bytes", "base64": "AP8="}),
        (math.inf, {"$": "float", "text": "inf"}),
        ({1: "a", "1": "b"}, {"$": "dict", "items": [[1, "a"], ["1", "b"]]}),
        ({"$": "tuple"}, {"$": "dict", "items": [["$", "tuple"]]}),
        (Decimal("1.10"), {"$": "Decimal", "text": "1.10"}),
        (UUID(int=1), {"$": "UUID", "text": "00000000-0000-0000-0000-000000000001"}),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), {"$": "datetime", "iso": "2024-05-01T12:00:00+00:00"}),
        (Colour.RED, {"$": "enum", "class": f"{__name__}.Colour", "name": "RED", "value": "red"}),
        (Draft("hi"), {"$": "object", "class": f"{__name__}.Draft", "fields": {"text": "hi", "parts": {"$": "tuple", "items": []}}}),
        (ValueError("no"), {"$": "exception", "class": "ValueError", "message": "no", "args": ["no"]}),
        (list[int], {"$": "type", "class": "list", "args": [{"$": "type", "class": "int"}]}),
    ],
    ids=repr,
)  # fmt: skip
def test_a_tagged_form_can_be_read_by_a_person(value: Any, form: Any) -> None:
    assert json.loads(to_json(OutputEvent(executor_id="e", data=value)))["data"] == form


# Values that generators reach seldom or never.


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        2**64,
        -(2**63) - 1,
        10**5000,
        "\ud83d\ude00",  # two lone surrogates that a JSON reader would join
        {"\ud800": 1},
        bytearray(b"x"),
        1 + 2j,
        ...,
        {"$": {"$": 1}, "other": "x"},
        {"$": "tuple", "items": [1]},
        {(1, 2): {frozenset({1}): set()}},
        timedelta(days=-1, microseconds=1),
        datetime(1850, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime(2023, 10, 29, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=3661, microseconds=5))),
        time(1, 2, fold=1, tzinfo=UTC),
        time(1, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        date(1, 1, 1),
        Decimal("sNaN"),
        Colour.PAIR,
        Rights.READ | Rights.WRITE,
        Hashed(3),
        StatusEvent(status=WorkflowRunState.FAILED),
        WorkflowRunState.CANCELLED,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_special_value_comes_back_exactly(value: Any) -> None:
    assert same(there_and_back(value), value)


def test_an_object_comes_back_without_running_its_constructor() -> None:
    assert there_and_back(Doubling(2)).n == 4
    assert hash(there_and_back(Hashed(3))) == hash(Hashed(3))


def test_a_pydantic_model_comes_back_with_all_it_keeps() -> None:
    model = Model(name="n", more=(1, 2))
    model._seen = 5
    back = there_and_back(model)
    assert back == model
    assert (back._seen, back.model_extra, back.model_fields_set) == (5, {"more": (1, 2)}, {"name", "more"})


@pytest.mark.parametrize(
    "annotation",
    [
        *(int, str, type(None), list, dict, object, Any, typing.Never, ValueError, datetime, Decimal, UUID, UserId),
        *(list[int], dict[str, list[int]], tuple[int, ...], tuple[()], type[int], int | str, int | None),
        *(Union[int, str], Literal["a", 1, Colour.RED], Annotated[int, "x"], Callable[[int, str], bool]),  # noqa: UP007
        *(typing.List[int], typing.Callable[[int], str], typing.Callable[..., Any], Box[int], Box, Draft, Colour),  # noqa: UP006
        *(collections.abc.Sequence[Draft], list[Draft | None]),
    ],
    ids=str,
)
def test_a_response_type_comes_back_equal(annotation: Any) -> None:
    event = RequestInfoEvent(executor_id="e", request_id="r", data=None, response_type=annotation)
    assert from_json(to_json(event), TYPES) == event


def test_a_type_of_unknown_parts_is_an_opaque() -> None:
    assert there_and_back(Draft, ()) == Opaque(f"{__name__}.Draft", {}, "type")
    back = there_and_back(list[Draft | None], ())
    assert (back.type_name, back.form) == ("list", "type")
    assert there_and_back(back) == list[Draft | None]


# Exceptions.


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 1),
        KeyError("missing"),
        OSError(2, "No such file", "/tmp/x"),
        FileNotFoundError(2, "No such file", "/tmp/x"),
        DiskError(5, "broken", "/dev/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        SyntaxError("bad", ("f.py", 1, 2, "x =")),
        ImportError("no", name="n", path="p"),
        NameError("no", name="n"),
        SystemExit(3),
        StopIteration(4),
        KeyboardInterrupt(),
        Refusal(7, why="full"),
        AttrsError(5),
        errors.WorkflowBusyError("w", "r"),
        errors.RequestNotFoundError("r", ("a", "b")),
        errors.CodecError("state['x']", "cannot"),
    ],
    ids=repr,
)
def test_a_builtin_or_given_exception_comes_back_as_itself(error: BaseException) -> None:
    error.add_note("raised by executor 'e'")
    back = from_json(to_json(FailedEvent(error=error)), TYPES)
    assert isinstance(back, FailedEvent)
    assert type(back.error) is type(error)
    assert (str(back.error), back.error.args, vars(back.error)) == (str(error), error.args, vars(error))
    for name in ("errno", "filename", "start", "lineno", "name", "path", "code", "value"):
        assert getattr(back.error, name, None) == getattr(error, name, None)


def test_causes_and_groups_come_back() -> None:
    error = errors.CheckpointError("not written")
    error.__cause__ = OSError(28, "No space left")
    back = there_and_back(error)
    assert isinstance(back.__cause__, OSError)
    assert back.__cause__.errno == 28
    group = there_and_back(ExceptionGroup("two", [ValueError(1), ExceptionGroup("one", [Refusal(1, why="y")])]))
    assert str(group) == "two (2 sub-exceptions)"
    assert type(group.exceptions[1].exceptions[0]) is Refusal


def test_an_unknown_exception_comes_back_as_a_stand_in_that_names_it() -> None:
    error = Refusal(7, why="full")
    error.add_note("a note")
    back = from_json(to_json(ExecutorFailedEvent(executor_id="e", error=error)))
    assert isinstance(back, ExecutorFailedEvent)
    assert isinstance(back.error, OpaqueError)
    assert back.error.type_name == f"{__name__}.Refusal"
    assert back.error.message == "refused with 7: full"
    assert back.error.details["attributes"] == {"code": 7, "why": "full"}
    assert back.error.__notes__ == ["a note"]
    assert str(back.error) == f"{__name__}.Refusal: refused with 7: full"


def test_an_exception_that_cannot_be_made_again_is_a_stand_in() -> None:
    odd = BaseExceptionGroup("odd", [KeyboardInterrupt()])
    nested = json.loads(to_json(FailedEvent(error=odd)))
    nested["error"]["args"] = ["odd", [1]]
    back = from_json(json.dumps(nested))
    assert isinstance(back, FailedEvent)
    assert isinstance(back.error, OpaqueError)


# Stand-ins.


def test_unknown_classes_come_back_as_readable_stand_ins() -> None:
    assert there_and_back(Draft("hi", (1,)), ()) == Opaque(f"{__name__}.Draft", {"text": "hi", "parts": (1,)})
    assert there_and_back(Colour.RED, ()) == Opaque(f"{__name__}.Colour", {"name": "RED", "value": "red"}, "enum")
    assert there_and_back({Draft("a"), Draft("b")}, ()) == {
        Opaque(f"{__name__}.Draft", {"text": "a", "parts": ()}),
        Opaque(f"{__name__}.Draft", {"text": "b", "parts": ()}),
    }


def test_an_unknown_event_keeps_its_common_fields() -> None:
    back = from_json(to_json(Progress(run_id="r", sequence=3, superstep=2, path=("p",), done=4)))
    assert back == UnknownEvent(
        run_id="r",
        sequence=3,
        superstep=2,
        path=("p",),
        kind="progress",
        type_name=f"{__name__}.Progress",
        fields={"done": 4, "of": 100, "extra": None},
    )


def test_a_users_event_is_found_by_its_wire_name_when_its_class_has_moved() -> None:
    node = json.loads(to_json(Progress(done=4)))
    node["class"] = "old_module.Progress"
    assert from_json(json.dumps(node), [Progress]) == Progress(done=4)
    assert from_json('{"type": "progress", "done": 4}', [Progress]) == Progress(done=4)


def test_a_users_event_may_bear_the_wire_name_of_a_runtime_kind() -> None:
    @attrs.frozen(kw_only=True)
    class Mine(WorkflowEvent):
        type: ClassVar[str] = "output"
        x: int = 0

    assert from_json(to_json(Mine(x=1)), [Mine]) == Mine(x=1)
    assert isinstance(from_json(to_json(Mine(x=1))), UnknownEvent)


def test_a_users_event_without_fields_of_its_own_needs_no_decorator() -> None:
    class Tick(WorkflowEvent):
        type = "tick"

    back = from_json(to_json(Tick(sequence=1)), [Tick])
    assert type(back) is Tick
    assert back == Tick(sequence=1)


def test_a_class_may_choose_its_name_for_the_wire() -> None:
    @attrs.frozen
    class Named:
        __actorflow_name__ = "named"
        x: int

    assert json.loads(to_json(OutputEvent(executor_id="e", data=Named(1))))["data"]["class"] == "named"
    assert there_and_back(Named(1), [Named]) == Named(1)


# Any value at all.


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Hostile:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


@attrs.define
class Grumpy:
    x: int = 0

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attribute")


class Untold(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Notes(TypedDict):
    text: str


def endless() -> list[Any]:
    value: list[Any] = [1]
    value += [value, {"self": value}]
    return value


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        *(object(), threading.Lock(), lambda: None, Broken(), Untold(), len, sys, (i for i in ())),
        *(endless(), deep(100), deep(5000), collections.OrderedDict(a=1), collections.Counter("aa"), range(3), Box()),
        *(memoryview(b"x"), Notes(text="x"), collections.deque([1]), type("Lone", (str,), {})("x"), UserId("u"), print),
        *(typing.TypeVar("T"), typing.ForwardRef("X"), Opaque("x", {}, "repr"), OpaqueError("x", "y"), NotImplemented),
        *(types_ for types_ in (Notes, Broken, enum.Enum, typing.Generic)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_to_json_works_for_any_value(value: Any) -> None:
    text = to_json(MessageDroppedEvent(reason="type", message=value))
    back = from_json(text)
    assert isinstance(back, MessageDroppedEvent)
    assert to_json(from_json(to_json(back))) == to_json(back)


def test_to_json_works_for_values_that_lie_about_their_class() -> None:
    assert "Hostile" in to_json(MessageDroppedEvent(reason="type", message=[Hostile()]))
    assert "Grumpy" in to_json(MessageDroppedEvent(reason="type", message=[Grumpy()]))


def test_what_has_no_form_comes_back_as_its_repr() -> None:
    back = there_and_back(range(3))
    assert back == Opaque("range", {"text": "range(0, 3)"}, "repr")


def test_fields_of_a_wrong_type_do_not_fail_to_json() -> None:
    to_json(OutputEvent(executor_id=object(), data=1, path=[1], time=math.nan, superstep="x"))  # type: ignore
    to_json(StatusEvent(status="what"))  # type: ignore


def test_equal_sets_give_equal_text() -> None:
    letters = {*string.ascii_letters}
    shuffled = {*reversed(string.ascii_letters), *range(1000)} - {*range(1000)}
    assert to_json(OutputEvent(executor_id="e", data=letters)) == to_json(OutputEvent(executor_id="e", data=shuffled))


# Malformed texts.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "JSON list, not an object"),
        ("{}", "'type' is None"),
        ('{"type": 1}', "'type' is 1"),
        ('{"type": "started", "class": 3}', "'class' is 3"),
        ('{"type": "started", "sequence": "x"}', "field 'sequence'"),
        ('{"type": "started", "sequence": true}', "field 'sequence'"),
        ('{"type": "started", "path": [1]}', "field 'path'"),
        ('{"type": "started", "colour": 1}', "StartedEvent has no field 'colour'"),
        ('{"type": "status"}', "field 'status' of StatusEvent is missing"),
        ('{"type": "status", "status": "ASLEEP"}', "field 'status'"),
        ('{"type": "failed", "error": "boom"}', "field 'error' is not an exception but 'boom'"),
        ('{"type": "output", "executor_id": "e", "data": NaN}', "NaN is not JSON"),
        ('{"type": "output", "executor_id": "e", "data": {"$": "pickle"}}', "unknown form 'pickle'"),
        ('{"type": "output", "executor_id": "e", "data": {"$": ["a"]}}', "unknown form"),
        ('{"type": "output", "executor_id": "e", "data": {"$": "tuple"}}', "'items' is missing"),
        ('{"type": "output", "executor_id": "e", "data": {"$": "set", "items": [[]]}}', "unhashable"),
        ('{"type": "output", "executor_id": "e", "data": {"$": "bytes", "base64": "?"}}', "?"),
        ('{"type": "output", "executor_id": "e", "data": {"$": "Decimal", "text": "one"}}', "one"),
        ('{"type": "output", "executor_id": "e", "data": {"$": "object", "class": "int", "fields": {}}}', "no fields"),
        ('{"type": "output", "executor_id": "e", "data": ' + "[" * 100_000 + "]" * 100_000 + "}", "nests too deep"),
    ],
    ids=lambda value: value[:60],
)
def test_a_malformed_text_is_a_value_error_that_names_the_problem(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_json(text)
    assert "not the JSON of an event" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["{", "{}", '{"type": "status", "status": "ASLEEP"}'])
def test_a_malformed_text_is_a_public_error_that_is_ours(text: str) -> None:
    with pytest.raises(errors.EventFormatError) as caught:
        from_json(text)
    assert isinstance(caught.value, errors.ActorflowError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [3, None, "{}", OutputEvent], ids=repr)
def test_what_is_no_event_is_refused_by_to_json(value: Any) -> None:
    with pytest.raises(TypeError, match=r"event is .+, not a WorkflowEvent; give one that a run emitted") as caught:
        to_json(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [3, None, {"type": "started"}], ids=repr)
def test_what_is_no_text_is_refused_by_from_json(value: Any) -> None:
    with pytest.raises(TypeError, match=r"text is .+, not str or bytes; give what to_json wrote"):
        from_json(value)


def test_a_missing_field_takes_its_default_and_an_unknown_one_is_named() -> None:
    node = json.loads(to_json(OutputEvent(executor_id="e", data=Order(1, [2]))))
    del node["data"]["fields"]["lines"]
    assert from_json(json.dumps(node), [Order]) == OutputEvent(executor_id="e", data=Order(1))
    node["data"]["fields"]["colour"] = 1
    with pytest.raises(ValueError, match="Order has no field 'colour'; it has id, lines"):
        from_json(json.dumps(node), [Order])


def test_types_of_one_name_are_refused() -> None:
    def make() -> type:
        @attrs.frozen
        class Twin:
            x: int

        return Twin

    with pytest.raises(ValueError, match="two classes of the name"):
        from_json(to_json(StartedEvent()), [make(), make()])
    with pytest.raises(ValueError, match="types are classes, not 3"):
        from_json(to_json(StartedEvent()), [3])


def test_a_name_in_a_text_imports_nothing() -> None:
    for form in ("object", "enum", "type", "exception", "repr"):
        node = {"$": form, "class": "this.that", "fields": {}, "name": "n", "value": 1, "message": "m", "args": []}
        text = json.dumps({"type": "output", "executor_id": "e", "data": node})
        back = from_json(text)
        assert isinstance(back, OutputEvent)
        assert isinstance(back.data, (Opaque, OpaqueError))
    assert "this" not in sys.modules


def test_ids_of_checkpoints_are_plain() -> None:
    event = CheckpointSavedEvent(checkpoint_id="c", parent_id=None)
    assert from_json(to_json(event)) == event


def test_events_are_made_for_match() -> None:
    match from_json(to_json(OutputEvent(executor_id="e", data=1))):
        case OutputEvent(executor_id="e", data=data):
            assert data == 1
        case other:
            pytest.fail(f"{other!r}")

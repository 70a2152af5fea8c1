"""Handlers: every way to write their types, and every way to get them wrong. All annotations here are strings."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections import Counter as Bag
from typing import Any, Generic, Literal, NamedTuple, Never, NewType, TypedDict, TypeVar

import attrs
import pydantic
import pytest

from actorflow import Executor, WorkflowContext, executor, handler, response_handler
from actorflow.errors import (
    AmbiguousHandlersError,
    HandlerSignatureError,
    MessageTypeError,
    StateTypeError,
    WorkflowValidationError,
)

if typing.TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

T = TypeVar("T")
U = TypeVar("U")


@attrs.frozen
class Draft:
    text: str


@dataclasses.dataclass
class Point:
    x: int


class Pair(NamedTuple):
    one: int
    two: str


class Movie(TypedDict):
    name: str


class Model(pydantic.BaseModel):
    size: int


class Counter:
    """Has the name of a class in typing, on purpose."""

    def __init__(self):
        self.count = 0


UserId = NewType("UserId", int)
Text = int
"""Has the name of something in typing, on purpose."""


def table(kind):
    return kind(id="e").handler_table


def takes(kind):
    return [spec.takes for spec in table(kind).handlers]


def chosen(kind, value):
    return table(kind).find("e", value).label.rpartition(".")[2]


# Every kind of type.


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, 1, "a"),
        (int | str, "a", 1.5),
        (int | None, None, "a"),
        (list[int], [1], ["a"]),
        (dict[str, list[int]], {"a": [1]}, {"a": ["b"]}),
        (tuple[int, ...], (1, 2), ("a",)),
        (Draft, Draft("x"), Point(1)),
        (Point, Point(1), Draft("x")),
        (Pair, Pair(1, "a"), (1, "a")),
        (Movie, {"name": "x"}, {"name": 1}),
        (Model, Model(size=1), {"size": 1}),
        (UserId, UserId(1), "a"),
        (Literal["a", "b"], "a", "c"),
        (type[Draft], Draft, Point),
    ],
)
def test_any_kind_of_type_may_be_a_message(annotation, good, bad):
    class Takes(Executor):
        @handler(input=annotation)
        async def take(self, message, ctx) -> None: ...

    assert chosen(Takes, good) == "take"
    with pytest.raises(MessageTypeError, match="'e' cannot take"):
        chosen(Takes, bad)


def test_a_handler_for_any_takes_everything_that_no_other_does():
    """F19: whatever the alphabet says."""

    class Takes(Executor):
        @handler
        async def a_anything(self, message: Any, ctx: WorkflowContext) -> None: ...

        @handler
        async def m_number(self, message: int | bytes, ctx: WorkflowContext) -> None: ...

        @handler
        async def z_flag(self, message: bool, ctx: WorkflowContext) -> None: ...

    assert [chosen(Takes, value) for value in (True, 1, b"", "a", 1.5)] == [
        "z_flag", "m_number", "m_number", "a_anything", "a_anything",
    ]  # fmt: skip


def test_two_handlers_of_one_type_are_refused_with_both_names():
    class Takes(Executor):
        @handler
        async def one(self, message: int, ctx: WorkflowContext) -> None: ...

        @handler
        async def two(self, message: int, ctx: WorkflowContext) -> None: ...

    with pytest.raises(AmbiguousHandlersError, match=r"Takes.one \(int\) and Takes.two \(int\) all take int"):
        table(Takes)


def test_context_types_are_taken_apart():
    class Sends(Executor):
        @handler
        async def take(self, message: int, ctx: WorkflowContext[Draft | Point, str | None]) -> None: ...

        @handler
        async def quiet(self, message: str, ctx: WorkflowContext) -> None: ...

        @handler
        async def outputs(self, message: bytes, ctx: WorkflowContext[Never, bytes]) -> None: ...

    specs = {spec.takes: spec for spec in table(Sends).handlers}

    assert (specs[int].sends, specs[int].yields) == ((Draft, Point), (str, type(None)))
    assert (specs[str].sends, specs[str].yields) == ((), ())
    assert (specs[bytes].sends, specs[bytes].yields) == ((), (bytes,))
    assert table(Sends).sends == (Draft, Point)
    assert table(Sends).yields == (str, type(None), bytes)


# Explicit types.


def test_types_given_to_the_decorator_need_no_annotations_at_all():
    class Explicit(Executor):
        @handler(input=int | str, output=Draft, workflow_output=str)
        async def take(self, message, ctx): ...

        @response_handler(request=Draft, response=bool, output=Draft)
        async def answer(self, request, response, ctx): ...

    spec, answer = table(Explicit).handlers[0], table(Explicit).responses[0]

    assert (spec.takes, spec.sends, spec.yields) == (int | str, (Draft,), (str,))
    assert (answer.request, answer.takes, answer.sends, answer.yields) == (Draft, bool, (Draft,), ())


def test_types_given_to_the_decorator_win_over_annotations_that_mean_nothing():
    class Explicit(Executor):
        @handler(input=int, output=Draft, workflow_output=str)
        async def take(self, message: OnlyForCheckers, ctx: WorkflowContext[OnlyForCheckers]) -> None: ...

        @handler(input=str)
        async def other(self, message: OnlyForCheckers, ctx: WorkflowContext[Point]) -> None: ...

    first, second = table(Explicit).handlers

    assert (first.takes, first.sends, first.yields) == (int, (Draft,), (str,))
    assert (second.takes, second.sends) == (str, (Point,))


def test_a_type_where_the_function_belongs_is_refused_with_the_right_spelling():
    with pytest.raises(HandlerSignatureError, match=r"not <class 'int'>.*@handler\(input=...\)"):
        handler(int)
    with pytest.raises(HandlerSignatureError, match=r"@handler\(input=...\)"):
        handler(Draft)
    with pytest.raises(HandlerSignatureError, match=r"@response_handler\(request=..., response=...\)"):
        response_handler(Draft)
    with pytest.raises(HandlerSignatureError, match=r"write @executor\(id=...\)"):
        executor("name")
    with pytest.raises(HandlerSignatureError, match=r"write @executor\(id=...\)"):
        executor(Draft)
    assert not hasattr(Draft, "__actorflow_handler__")


# String annotations and local names.


def test_classes_defined_in_the_same_function_are_found():
    class Local: ...

    class Answer: ...

    class Takes(Executor):
        class Inner: ...

        @handler
        async def take(self, message: list[Local] | Inner, ctx: WorkflowContext[Local, Answer]) -> None: ...

        @handler
        async def itself(self, message: Takes, ctx: WorkflowContext) -> None: ...

        @response_handler
        async def answer(self, request: Local, response: Answer, ctx: WorkflowContext) -> None: ...

    assert takes(Takes) == [list[Local] | Takes.Inner, Takes]
    assert table(Takes).yields == (Answer,)
    assert table(Takes).responses[0].takes is Answer


def test_classes_defined_later_in_the_same_function_are_found():
    class Takes(Executor):
        @handler
        async def take(self, message: Later, ctx: WorkflowContext[LaterStill]) -> None: ...

        @response_handler
        async def answer(self, request: Later, response: LaterStill, ctx: WorkflowContext) -> None: ...

    @executor
    async def function(message: Later, ctx: WorkflowContext[LaterStill]) -> None: ...

    class Later: ...

    class LaterStill: ...

    assert takes(Takes) == [Later]
    assert table(Takes).sends == (LaterStill,)
    assert (table(Takes).responses[0].request, table(Takes).responses[0].takes) == (Later, LaterStill)
    assert function.handler_table.handlers[0].takes is Later


def test_a_later_class_is_found_after_its_function_returned_if_the_handler_uses_it():
    def make():
        class Takes(Executor):
            @handler
            async def take(self, message: Later, ctx: WorkflowContext) -> None:
                assert isinstance(message, Later)

        class Later: ...

        return Takes, Later

    kind, later = make()

    assert takes(kind) == [later]


def test_a_caller_with_a_variable_of_the_same_name_is_not_asked():
    def define():
        class Takes(Executor):
            @handler
            async def take(self, message: Draft, ctx: WorkflowContext) -> None: ...

        @executor
        async def function(message: Draft) -> None: ...

        return Takes, function

    def caller():
        Draft = int  # noqa: F841
        return define()

    kind, function = caller()

    assert takes(kind) == [Draft]
    assert function.handler_table.handlers[0].takes is Draft


def test_a_base_and_a_subclass_from_different_functions_keep_their_own_names():
    def make_base():
        class Local: ...

        class Base(Executor):
            @handler
            async def base(self, message: Local, ctx: WorkflowContext) -> None: ...

        return Base, Local

    base, base_local = make_base()

    class Local: ...

    class Sub(base):
        @handler
        async def sub(self, message: Local, ctx: WorkflowContext) -> None: ...

    assert set(takes(Sub)) == {Local, base_local}


def test_an_executor_class_with_the_name_of_a_message_class_does_not_hide_it():
    kind = type("Draft", (Takes_Draft,), {"__module__": __name__})

    assert takes(kind) == [Draft]


class Takes_Draft(Executor):
    @handler
    async def take(self, message: Draft, ctx: WorkflowContext[Text]) -> None: ...


def test_module_names_win_over_names_in_typing():
    assert table(Takes_Draft).sends == (int,)

    class Keeps(Executor):
        state: Counter

        @handler
        async def take(self, message: int, ctx: WorkflowContext) -> None: ...

    assert type(Keeps(id="e").state) is Counter


def test_only_the_state_annotation_of_a_class_need_make_sense():
    class Keeps(Executor):
        state: Bag[str]
        client: OnlyForCheckers

        @handler
        async def take(self, message: int, ctx: WorkflowContext) -> None: ...

    assert Keeps(id="e").state == Bag()


def test_a_generic_base_may_declare_the_state():
    class Base(Executor, Generic[T]):
        state: T

        @handler
        async def take(self, message: int, ctx: WorkflowContext) -> None: ...

    class Sub(Base[list[int]]): ...

    assert Sub(id="e").state == []
    with pytest.raises(StateTypeError, match="cannot be constructed"):
        Base(id="e")


def test_a_state_that_cannot_be_resolved_or_is_shared_is_refused():
    class Unknown(Executor):
        state: OnlyForCheckers

    class Shared(Executor):
        state: typing.ClassVar[list[int]]

    with pytest.raises(StateTypeError, match=r"state of executor class Unknown cannot be resolved.*module level"):
        Unknown(id="e")
    with pytest.raises(StateTypeError, match="ClassVar"):
        Shared(id="e")


def test_an_annotation_that_cannot_be_resolved_is_refused_with_two_ways_out():
    class Takes(Executor):
        @handler
        async def take(self, message: OnlyForCheckers, ctx: WorkflowContext) -> None: ...

    with pytest.raises(
        HandlerSignatureError,
        match=r"'message' of handler Takes.take.*OnlyForCheckers.*import the name at module level, or give the types",
    ):
        table(Takes)


# Generic bases.


class Echo(Executor, Generic[T]):
    @handler
    async def take(self, message: T, ctx: WorkflowContext[list[T], T | None]) -> None: ...


def test_a_type_variable_is_bound_by_subclassing():
    class Ints(Echo[int]): ...

    assert takes(Ints) == [int]
    assert table(Ints).sends == (list[int],)
    assert table(Ints).yields == (int, type(None))


def test_type_variables_are_bound_through_several_bases_even_if_one_name_means_two_things():
    class Lists(Echo[list[T]], Generic[T]): ...

    class Ints(Lists[int]): ...

    class Mid(Echo[dict[str, U]], Generic[U]):
        @handler
        async def other(self, message: U, ctx: WorkflowContext) -> None: ...

    class Bytes(Mid[bytes]): ...

    assert takes(Ints) == [list[int]]
    assert set(map(str, takes(Bytes))) == {"<class 'bytes'>", "dict[str, bytes]"}


def test_an_unbound_type_variable_is_refused():
    class Lists(Echo[list[T]], Generic[T]): ...

    for kind in (Echo, Lists):
        with pytest.raises(HandlerSignatureError, match=r"type variable ~T of 'message' is unresolved; subclass with"):
            table(kind)


def test_a_type_variable_of_the_context_alone_is_refused_too():
    class Sends(Executor, Generic[T]):
        @handler
        async def take(self, message: int, ctx: WorkflowContext[T]) -> None: ...

    with pytest.raises(HandlerSignatureError, match="~T of 'ctx' is unresolved"):
        table(Sends)


# Inheritance.


class Parent(Executor):
    @handler
    async def take(self, message: int, ctx: WorkflowContext) -> None: ...

    @handler
    async def keep(self, message: bytes, ctx: WorkflowContext) -> None: ...


def test_a_subclass_inherits_adds_and_overrides_handlers():
    class Child(Parent):
        @handler
        async def take(self, message: str, ctx: WorkflowContext) -> None: ...

        @handler
        async def more(self, message: float, ctx: WorkflowContext) -> None: ...

    assert set(takes(Child)) == {str, bytes, float}
    assert set(takes(Parent)) == {int, bytes}
    assert table(Child).handlers[0].call is Child.take


def test_handlers_may_come_from_a_mixin_that_is_no_executor():
    class Mixin:
        @handler
        async def mixed(self, message: float, ctx: WorkflowContext) -> None: ...

    class Child(Mixin, Parent): ...

    assert set(takes(Child)) == {int, bytes, float}


def test_an_override_that_is_no_handler_is_refused():
    class Child(Parent):
        async def take(self, message: int, ctx: WorkflowContext) -> None: ...

    with pytest.raises(HandlerSignatureError, match=r"Child.take overrides a handler but is not one; decorate it"):
        table(Child)


def test_an_executor_without_handlers_is_refused():
    class Empty(Executor): ...

    with pytest.raises(HandlerSignatureError, match="Empty has no @handler method; add one"):
        table(Empty)


def test_a_decorated_handler_keeps_its_annotations():
    def logged(function):
        @functools.wraps(function)
        async def inner(self, message, ctx):
            return await function(self, message, ctx)

        return inner

    class Local: ...

    class Takes(Executor):
        @handler
        @logged
        async def take(self, message: Local, ctx: WorkflowContext[Draft]) -> None: ...

    assert takes(Takes) == [Local]
    assert table(Takes).sends == (Draft,)


# Wrong handlers.


async def no_message_type(self, message, ctx: WorkflowContext) -> None: ...
async def no_context_type(self, message: int, ctx) -> None: ...
async def wrong_context(self, message: int, ctx: int) -> None: ...
async def optional_context(self, message: int, ctx: WorkflowContext[int] | None) -> None: ...
async def returns(self, message: int, ctx: WorkflowContext) -> int: ...
async def too_few(self, message: int) -> None: ...
async def too_many(self, message: int, ctx: WorkflowContext, more: int) -> None: ...
async def keyword_only(self, message: int, *, ctx: WorkflowContext) -> None: ...
async def variadic(self, *messages: int) -> None: ...
async def broken(self, message: "int[", ctx: WorkflowContext) -> None: ...  # noqa: F722
def sync(self, message: int, ctx: WorkflowContext) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_message_type, "no annotation for 'message'; annotate it"),
        (no_context_type, r"no annotation for 'ctx'; annotate it as WorkflowContext\[Out, WorkflowOut\]"),
        (wrong_context, "'ctx' is annotated int; it must be a WorkflowContext"),
        (optional_context, "it must be a WorkflowContext"),
        (returns, "annotated to return int; a handler returns None: send with ctx.send_message"),
        (too_few, r"it must take \(self, message, ctx\)"),
        (too_many, r"it must take \(self, message, ctx\)"),
        (keyword_only, r"it must take \(self, message, ctx\)"),
        (variadic, r"it must take \(self, message, ctx\)"),
        (broken, "cannot be resolved"),
        (sync, "must be 'async def'"),
    ],
)
def test_a_wrong_handler_is_refused_with_its_name_and_the_way_out(function, says):
    kind = type("Wrong", (Executor,), {"take": handler(function)})

    with pytest.raises(HandlerSignatureError, match=says) as caught:
        table(kind)

    assert "Wrong.take" in str(caught.value)
    assert isinstance(caught.value, WorkflowValidationError)
    assert isinstance(caught.value, TypeError)


def test_a_response_handler_needs_both_types():
    class Asks(Executor):
        @response_handler
        async def answer(self, request: int, response, ctx: WorkflowContext) -> None: ...

    class Short(Executor):
        @response_handler
        async def answer(self, response: int, ctx: WorkflowContext) -> None: ...

    with pytest.raises(HandlerSignatureError, match="no annotation for 'response'"):
        table(Asks)
    with pytest.raises(HandlerSignatureError, match=r"it must take \(self, request, response, ctx\)"):
        table(Short)


def test_a_class_can_be_mended_after_it_was_refused():
    class Empty(Executor): ...

    with pytest.raises(HandlerSignatureError):
        table(Empty)
    Empty.take = Parent.take

    assert takes(Empty) == [int]


# Function executors.


def test_functions_become_executors_with_and_without_parentheses_context_and_async():
    @executor
    async def plain(message: int, ctx: WorkflowContext[str, Draft]) -> None: ...

    @executor()
    async def called(message: int) -> None: ...

    @executor(id="named", concurrency=3)
    def sync_one(message: list[Draft]) -> None: ...

    @executor
    def sync_two(message: int, ctx: WorkflowContext[str]) -> None: ...

    assert [each.id for each in (plain, called, sync_one, sync_two)] == ["plain", "called", "named", "sync_two"]
    assert (plain.handler_table.sends, plain.handler_table.yields) == ((str,), (Draft,))
    assert called.handler_table.sends == ()
    assert sync_one.handler_table.handlers[0].takes == list[Draft]
    assert sync_one.concurrency == 3


def test_wrong_functions_are_refused():
    @executor
    async def unannotated(message): ...

    @executor
    async def nothing() -> None: ...

    @executor
    async def three(message: int, ctx: WorkflowContext, more: int) -> None: ...

    @executor
    async def returning(message: int) -> str: ...

    for each, says in [
        (unannotated, "unannotated has no annotation for 'message'"),
        (nothing, r"nothing takes \(\) -> 'None'; it must take \(message, ctx\)"),
        (three, r"it must take \(message, ctx\)"),
        (returning, "annotated to return str"),
    ]:
        with pytest.raises(HandlerSignatureError, match=says):
            each.handler_table


def test_a_lambda_without_an_id_is_refused_with_the_way_out():
    def made(**types):
        function = lambda message: None  # noqa: E731
        function.__annotations__ = types
        return function

    with pytest.raises(HandlerSignatureError, match=r"a lambda has no name .*give the id: executor\(id='\.\.\.'\)"):
        executor(made(message=int))
    with pytest.raises(HandlerSignatureError, match="a lambda has no name"):
        executor(concurrency=2)(made(message=int))
    named = executor(id="named")(made(message=int))
    assert (named.id, named.handler_table.handlers[0].takes) == ("named", int)


def test_an_empty_id_is_refused_everywhere():
    async def function(message: int) -> None: ...

    for make in (lambda: executor(id="")(function), lambda: Parent(id=""), lambda: Parent(id=None)):
        with pytest.raises(ValueError, match="non-empty str"):
            make()
    for concurrency in (0, True, 1.5):
        with pytest.raises(ValueError, match="concurrency of executor 'e'"):
            Parent(id="e", concurrency=concurrency)

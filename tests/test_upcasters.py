"""Proves that what was stored under an older name, version or shape of a class is read as a value of today's, or refused by name.

Guards F42 (renaming a class makes all checkpoints unusable), R03 (old checkpoints are resumed by today's code), R10 and R11
(a change that nobody declared is refused loudly).
"""

import dataclasses
import enum
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import pytest

from actorflow import Upcaster
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.values import Codec
from actorflow.errors import CodecError, StateTypeError, UpcasterError


def a_class(name, fields=(), version=None, base=attrs.frozen):
    body: dict[str, Any] = {"__annotations__": dict.fromkeys(fields, Any)}
    if version is not None:
        body["__actorflow_version__"] = version
    return base(type(name, (), body))


def codec(*classes, upcasters=()):
    return Codec(TypeRegistry(classes, upcasters))


def lifted(value, *classes, upcasters=()):
    """Encode with the class as it is, decode with the classes as they are later."""
    return codec(*classes, upcasters=upcasters).decode(codec(type(value)).encode(value, "v"), "v")


OLD = a_class("OldDraft", ["text"])
DRAFT = a_class("Draft", ["text"])
DRAFT_2 = a_class("Draft", ["text", "words"], version=2)
DRAFT_3 = a_class("Draft", ["body", "words"], version=3)
COUNT = Upcaster("Draft", version=1, convert=lambda fields: {**fields, "words": len(fields["text"].split())})
RENAME_FIELD = Upcaster("Draft", version=2, convert=lambda fields: {"body": fields["text"], "words": fields["words"]})


# What can be lifted.


@pytest.mark.parametrize("to", [DRAFT, "Draft"])
def test_a_renamed_class_is_read_under_its_new_name(to):
    assert lifted(OLD("x"), DRAFT, upcasters=[Upcaster("OldDraft", to)]) == DRAFT("x")


def test_a_field_is_added_with_a_value_made_from_the_others():
    assert lifted(DRAFT("a b"), DRAFT_2, upcasters=[COUNT]) == DRAFT_2("a b", 2)


def test_a_chain_lifts_from_any_version():
    upcasters = [Upcaster("OldDraft", to="Draft"), COUNT, RENAME_FIELD]

    assert lifted(OLD("a b"), DRAFT_3, upcasters=upcasters) == DRAFT_3("a b", 2)
    assert lifted(DRAFT("a b"), DRAFT_3, upcasters=upcasters) == DRAFT_3("a b", 2)
    assert lifted(DRAFT_2("a b", 7), DRAFT_3, upcasters=upcasters) == DRAFT_3("a b", 7)
    assert lifted(DRAFT_3("a b", 7), DRAFT_3, upcasters=upcasters) == DRAFT_3("a b", 7)


def test_a_rename_holds_for_every_version_of_the_old_name():
    old_2 = a_class("OldDraft", ["text", "words"], version=2)

    assert lifted(old_2("x", 9), DRAFT_3, upcasters=[Upcaster("OldDraft", "Draft"), RENAME_FIELD]) == DRAFT_3("x", 9)


def test_a_field_is_removed_or_changes_its_type():
    wanted = a_class("Draft", ["words"], version=2)
    upcaster = Upcaster("Draft", version=1, convert=lambda fields: {"words": fields["text"].split()})

    assert lifted(DRAFT("a b"), wanted, upcasters=[upcaster]) == wanted(["a", "b"])


def test_a_new_name_and_new_fields_may_be_one_step():
    letter = a_class("Letter", ["body"], version=4)
    upcaster = Upcaster("Draft", letter, to_version=4, convert=lambda fields: {"body": fields["text"]})

    assert lifted(DRAFT("x"), letter, upcasters=[upcaster]) == letter("x")


def test_a_class_takes_the_name_that_another_had_before():
    letter = a_class("Letter", ["text"])
    draft = a_class("Draft", ["sketch"], version=2)
    upcasters = [Upcaster("Draft", letter, version=1)]

    assert lifted(DRAFT("x"), letter, draft, upcasters=upcasters) == letter("x")
    assert lifted(draft("y"), letter, draft, upcasters=upcasters) == draft("y")


def test_a_class_is_split_by_what_it_held():
    shape = a_class("Shape", ["kind", "size"])
    circle, square = a_class("Circle", ["radius"]), a_class("Square", ["side"])
    split = Upcaster(
        "Shape",
        replace=lambda fields: circle(fields["size"]) if fields["kind"] == "round" else square(fields["size"]),
    )

    assert lifted(shape("round", 1), circle, square, upcasters=[split]) == circle(1)
    assert lifted(shape("other", 2), circle, square, upcasters=[split]) == square(2)


def test_a_part_of_a_class_becomes_a_class_of_its_own():
    address = a_class("Address", ["town"])
    old, new = a_class("Person", ["name", "town"]), a_class("Person", ["name", "address"], version=2)
    upcaster = Upcaster("Person", convert=lambda fields: {"name": fields["name"], "address": address(fields["town"])})

    assert lifted(old("Ada", "London"), new, address, upcasters=[upcaster]) == new("Ada", address("London"))


def test_a_class_that_is_gone_becomes_a_builtin_value_wherever_it_sits():
    money = a_class("Money", ["amount"])
    holder = a_class("Holder", ["items"])
    data = codec(money, holder).encode(holder([money("1.5"), {"k": money("2")}]), "v")
    today = codec(holder, upcasters=[Upcaster("Money", replace=lambda fields: Decimal(fields["amount"]))])

    assert today.decode(data, "v") == holder([Decimal("1.5"), {"k": Decimal(2)}])


def test_parts_are_lifted_before_the_whole():
    old = a_class("Book", ["draft"])
    data = codec(old, DRAFT).encode(old(DRAFT("a b c")), "v")
    book = a_class("Book", ["words"], version=2)
    upcasters = [COUNT, Upcaster("Book", convert=lambda fields: {"words": fields["draft"].words})]

    assert codec(book, DRAFT_2, upcasters=upcasters).decode(data, "v") == book(3)


def test_members_of_an_enum_are_renamed():
    class Colour(enum.Enum):
        CRIMSON = 1
        BLUE = 2

    old = codec(Colour)
    data = old.encode({"a": [Colour.CRIMSON, Colour.BLUE]}, "v")

    class Colour(enum.Enum):
        __actorflow_version__ = 2
        RED = 1
        BLUE = 2  # noqa: PIE796  it sees the body above as well

    names = {"CRIMSON": "RED"}
    upcaster = Upcaster("Colour", convert=lambda fields: {"member": names.get(fields["member"], fields["member"])})
    today = codec(Colour, upcasters=[upcaster])

    assert today.decode(data, "v") == {"a": [Colour.RED, Colour.BLUE]}
    assert today.decode(today.encode(Colour.RED, "v"), "v") is Colour.RED
    with pytest.raises(CodecError, match=r"declare WorkflowBuilder\(upcasters=\[Upcaster\('Colour', version=1"):
        codec(Colour).decode(data, "v")


def test_flags_are_renamed_and_renumbered():
    class Access(enum.Flag):
        READ = 1
        WRITE = 2

    data = codec(Access).encode(Access.READ | Access.WRITE, "v")

    class Rights(enum.Flag):
        READ = 4
        WRITE = 8

    upcaster = Upcaster("Access", Rights, convert=lambda fields: {"value": fields["value"] << 2})

    assert codec(Rights, upcasters=[upcaster]).decode(data, "v") == Rights.READ | Rights.WRITE


@dataclasses.dataclass
class Line:
    __actorflow_version__ = 2
    start: int
    end: int


class Span(NamedTuple):
    low: int
    high: int


@pytest.mark.parametrize("new", [Line, Span])
def test_the_kind_of_a_class_may_change(new):
    old = a_class("Range", ["a", "b"])
    fields = [*new.__annotations__]
    version = 2 if new is Line else 1
    upcaster = Upcaster(
        "Range",
        new,
        version=1,
        to_version=version,
        convert=lambda given: dict(zip(fields, given.values(), strict=True)),
    )

    value = lifted(old(1, 2), new, upcasters=[upcaster])

    assert type(value) is new
    assert value == new(1, 2)


def test_a_pydantic_model_keeps_what_it_knows_about_itself():
    import pydantic

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        a: int
        b: int = 5

    data = codec(Model).encode(Model(a=1, other=2), "v")

    class Model(pydantic.BaseModel):
        __actorflow_version__ = 2
        model_config = pydantic.ConfigDict(extra="allow")
        first: int
        b: int = 5

    def convert(fields):
        assert fields == {"a": 1, "b": 5}
        return {"first": fields["a"], "b": fields["b"]}

    model = codec(Model, upcasters=[Upcaster("Model", convert=convert)]).decode(data, "v")

    assert (model.first, model.b, model.other) == (1, 5, 2)
    assert model.model_fields_set == {"first", "other"}


class Mood(enum.Enum):
    GOOD = 1


class Rule(enum.Flag):
    STRICT = 1


@pytest.mark.parametrize(
    ("to", "gives", "says"),
    [
        (Mood, {"member": "BAD"}, "Mood has no member 'BAD'"),
        (Mood, {"text": "GOOD"}, "Mood is an enum and has no fields"),
        (Rule, {"value": "STRICT"}, "Rule has no flags 'STRICT'"),
        (Rule, {"member": "STRICT"}, "Rule is a flag and has no fields"),
    ],
)
def test_what_is_no_member_and_no_flag_is_refused(to, gives, says):
    with pytest.raises(CodecError, match=says):
        lifted(DRAFT("x"), to, upcasters=[Upcaster("Draft", to, convert=lambda fields: gives)])


def test_a_model_whose_field_was_never_set_is_refused_at_save_as_it_would_be_on_load():
    """F35."""
    import pydantic

    class Model(pydantic.BaseModel):
        needed: int

    with pytest.raises(CodecError, match="its field 'needed' was never set"):
        codec(Model).encode(Model.model_construct(), "v")


# What is stored.


def test_version_1_is_stored_without_a_word_and_later_ones_with_their_number():
    plain, said = a_class("Draft", ["text"]), a_class("Draft", ["text"], version=1)

    assert codec(plain).encode(plain("x"), "v") == codec(said).encode(said("x"), "v")
    assert codec(DRAFT).encode(DRAFT("x"), "v").hex() == "c70f0792a5447261667481a474657874a178"
    later = a_class("Draft", ["text"], version=2)
    assert codec(later).encode(later("x"), "v").hex() == "d80793a5447261667481a474657874a17802"


def test_a_version_is_not_inherited():
    class Sub(Line):
        pass

    assert TypeRegistry([Sub]).version_of(Sub) == 1


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.0, 2**31])
def test_a_version_that_is_none_is_refused(version):
    with pytest.raises(StateTypeError, match="__actorflow_version__ of"):
        codec(a_class("Draft", ["text"], version=version))


# What is refused when it is read; each error names the value and the way out.


@pytest.mark.parametrize(
    ("value", "classes", "upcasters", "says"),
    [
        (
            DRAFT("x"),
            [DRAFT_3],
            [],
            r"a stored Draft is of version 1, and here it is at version 3; declare .*version=1",
        ),
        (DRAFT("x"), [DRAFT_3], [RENAME_FIELD], r"declare .*Upcaster\('Draft', version=1"),
        (DRAFT_3("x", 1), [DRAFT], [], r"a stored Draft is of version 3, and here it is at version 1; read it with"),
        (OLD("x"), [DRAFT], [], r"'OldDraft' is not declared.*Upcaster\('OldDraft', to=\.\.\.\).*__actorflow_name__"),
        (
            DRAFT("x"),
            [a_class("Draft", ["body"])],
            [],
            r"\(text\) are not those it has \(body\).*__actorflow_version__ = 2",
        ),
        (
            DRAFT("x"),
            [DRAFT_2],
            [Upcaster("Draft", convert=lambda fields: fields)],
            r"what Upcaster\('Draft', version=1\) gave does not fit: .*\(text\) are not those it has \(text, words\)",
        ),
        (
            DRAFT("x"),
            [DRAFT_2],
            [Upcaster("Draft", convert=lambda fields: fields["nothing"])],
            r"Upcaster\('Draft', version=1\) raised KeyError: 'nothing'",
        ),
        (
            DRAFT("x"),
            [DRAFT_2],
            [Upcaster("Draft", convert=lambda fields: None)],
            r"Upcaster\('Draft', version=1\) gave NoneType, not a dict",
        ),
        (
            DRAFT("x"),
            [DRAFT_2],
            [Upcaster("Draft", convert=lambda fields: {"text": "x", "words": open})],
            r"Upcaster\('Draft', version=1\) gave does not fit: \.words cannot store",
        ),
        (DRAFT("x"), [], [Upcaster("Draft", replace=lambda fields: 1j)], r"does not fit:  cannot store complex"),
        (DRAFT("x"), [], [Upcaster("Draft", replace=lambda fields: 1 / 0)], r"raised ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(value, classes, upcasters, says):
    with pytest.raises(CodecError, match=says) as caught:
        lifted(value, *classes, upcasters=upcasters)

    assert caught.value.path == "v"


@pytest.mark.parametrize("version", [1, 0, -3, True, 1.0, "2", None, [2], 2**70])
def test_a_stored_version_that_no_writer_writes_is_refused(version):
    import msgspec

    fields = msgspec.msgpack.encode(["Draft", {"text": "x"}, version]) if version != 2**70 else b"\x93"
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(7, fields))

    with pytest.raises(CodecError):
        codec(DRAFT_2, upcasters=[COUNT]).decode(data, "v")


# What is refused when it is declared.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": ""}, "non-empty str"),
        ({"name": 3, "to": "x"}, "non-empty str"),
        ({"name": "A"}, "does nothing"),
        ({"name": "A", "to": ""}, "a class or its name"),
        ({"name": "A", "to": 3}, "a class or its name"),
        ({"name": "A", "to": "B", "version": 0}, "version is a whole number"),
        ({"name": "A", "to": "B", "to_version": "2"}, "to_version is a whole number"),
        ({"name": "A", "to": "B", "to_version": 2}, "goes with"),
        ({"name": "A", "convert": 3}, "plain function"),
        ({"name": "A", "convert": dict, "replace": dict}, "not both"),
        ({"name": "A", "to": "B", "replace": dict}, "leave out to"),
        ({"name": "A", "convert": dict, "to_version": 3}, "goes with"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, says):
    with pytest.raises(UpcasterError, match=says):
        Upcaster(**arguments)


def test_a_function_that_waits_is_refused():
    async def convert(fields): ...

    with pytest.raises(UpcasterError, match="plain function"):
        Upcaster("A", convert=convert)


@pytest.mark.parametrize(
    ("upcasters", "says"),
    [
        ([COUNT, Upcaster("Draft", version=1, convert=dict)], "take the same stored values"),
        ([Upcaster("Old", "Draft"), Upcaster("Old", "Other")], "take the same stored values"),
        ([COUNT], r"leads nowhere: a stored Draft is of version 2, and here it is at version 3"),
        ([Upcaster("Draft", version=3, convert=dict)], "which is at version 3; an upcaster is for what is older"),
        ([Upcaster("Draft", version=9, convert=dict)], "which is at version 3; an upcaster is for what is older"),
        ([Upcaster("Draft", "Other")], "takes the place of a class"),
        ([Upcaster("Old", "Nobody")], "leads nowhere: the stored type 'Nobody' is not declared"),
        ([Upcaster("Old", version=1, convert=dict)], "leads nowhere: the stored type 'Old' is not declared"),
        ([Upcaster("Old", "Draft", to_version=4, convert=dict)], "leads nowhere: a stored Draft is of version 4"),
        ([Upcaster("A", "B"), Upcaster("B", "A")], "leads back to itself"),
        ([Upcaster("A", "A")], "leads back to itself"),
        ([Upcaster("A", "B", version=1), Upcaster("B", "A", version=1)], "leads back to itself"),
        ([Upcaster("A", "B"), Upcaster("B", "A", version=1, convert=dict)], "leads back to itself"),
        (["Draft"], "a list of Upcaster, not of str"),
    ],
)
def test_declarations_that_cannot_work_are_refused(upcasters, says):
    with pytest.raises(UpcasterError, match=says):
        codec(DRAFT_3, upcasters=upcasters)

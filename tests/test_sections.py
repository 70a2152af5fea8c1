"""Sections come back as they were encoded, and whatever else the bytes hold is refused by name (P9, R11, R13)."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.sections import SectionCodec, section_key
from actorflow.core.effects import REMOVED, Delivery, Effects, Finished, Output, OutputKind, PendingRequest, Sent
from actorflow.core.snapshot import INFLIGHT, RUN, RunMark
from actorflow.core.timers import Arrival, Timer
from actorflow.errors import CodecError


@attrs.frozen
class Ask:
    text: str
    options: tuple[str, ...] = ()


CODEC = SectionCodec(TypeRegistry((Ask, int, list[int], bool | None)))
REQUEST = PendingRequest("r-1", "asker", Ask("why?", ("a", "b")), int)

SECTIONS = {
    ("state", "key"): {"a": [1, (2, Ask("x"))]},
    ("state", ""): None,
    ("state", "with/slash/état"): 1,
    ("executor", "e/1"): (Ask("typed"), {"hooked": [1]}),
    ("join", "j"): {"a": (1, Ask("x")), "b": ()},
    ("request", "r/1"): REQUEST,
    ("request", "r2"): PendingRequest("r2", "asker", [1], list[int]),
    ("request", "r3"): PendingRequest("r3", "asker", None, bool | None),
    ("request", "r4"): attrs.evolve(REQUEST, timeout=0.5, due=1e9),
    ("timer", "7-0"): Timer(1_700_000_000.25, 7, 0, Delivery("a", Ask("x"), ("s",))),
    ("timer", "7-12"): Timer(0.1, 7, 12, Arrival("j", "a", Ask("x"))),
    ("outputs", "12"): (
        Output("e", Ask("x"), OutputKind.OUTPUT),
        Output("e", (1,), OutputKind.INTERMEDIATE),
        Output("e", None, OutputKind.HIDDEN),
    ),
    INFLIGHT: (Delivery("a", Ask("x"), ("s", "t")), Delivery("asker", 5, (), REQUEST), Delivery("b", [(1,)])),
    RUN: RunMark("origin", 7),
}


@pytest.mark.parametrize("section", SECTIONS, ids=section_key)
def test_a_section_comes_back_exactly(section):
    """R13."""
    data = CODEC.encode(section, SECTIONS[section])
    snapshot = CODEC.decode({section_key(section): data}, 3)
    assert snapshot.get(section) == SECTIONS[section]
    assert snapshot.sections() == [section]
    assert snapshot.superstep == 3


def test_all_sections_together_make_one_snapshot():
    contents = {section_key(section): CODEC.encode(section, value) for section, value in SECTIONS.items()}
    snapshot = CODEC.decode(contents, 0)
    assert {section: snapshot.get(section) for section in snapshot.sections()} == SECTIONS


@pytest.mark.parametrize(
    ("section", "value", "path"),
    [
        (("state", "cart"), [1, object()], "state['cart'][1]"),
        (("executor", "e"), {"x": object()}, "state of executor 'e'['x']"),
        (("join", "j"), {"a": (object(),)}, "join 'j'"),
        (("request", "r"), attrs.evolve(REQUEST, data=object()), "request 'r-1' of 'asker'"),
        (("request", "r"), attrs.evolve(REQUEST, response_type=set[int]), "request 'r-1'"),
        (("outputs", "1"), (Output("e", object(), OutputKind.OUTPUT),), "output of 'e'"),
        (("timer", "1-0"), Timer(1.0, 1, 0, Delivery("a", object())), "message to 'a'"),
        (("timer", "1-0"), Timer(1.0, 1, 0, Arrival("j", "a", object())), "message to join 'j'"),
        (INFLIGHT, (Delivery("a", 1), Delivery("b", object())), "message to 'b'"),
    ],
)
def test_an_error_names_the_value_and_not_its_place_in_the_encoding(section, value, path):
    """F35."""
    with pytest.raises(CodecError) as caught:
        CODEC.encode(section, value)
    assert caught.value.path.startswith(path)


def test_a_section_of_an_unknown_kind_is_refused():
    for key in ("secrets/x", "", "state2/x", "/"):
        with pytest.raises(CodecError, match="no known kind"):
            CODEC.decode({key: b"\x01"}, 0)


def test_a_response_type_that_no_handler_declares_any_more_is_refused():
    """R11."""
    data = CODEC.encode(("request", "r"), PendingRequest("r", "asker", 1, list[int]))
    with pytest.raises(CodecError, match="response type"):
        SectionCodec(TypeRegistry((Ask, int))).decode({"request/r": data}, 0)


@pytest.mark.parametrize("due", [float("nan"), float("inf"), 5, "soon", None])
def test_a_due_time_that_is_none_is_refused_before_it_can_upset_the_order_of_timers(due):
    """R11."""
    timer = Timer(due, 1, 0, Arrival("j", "a", 1))
    with pytest.raises(CodecError, match="time"):
        CODEC.decode({"timer/1-0": CODEC.encode(("timer", "1-0"), timer)}, 0)
    if due is not None:
        request = attrs.evolve(REQUEST, timeout=1.0, due=due)
        with pytest.raises(CodecError, match="time"):
            CODEC.decode({"request/r-1": CODEC.encode(("request", "r-1"), request)}, 0)


def test_a_journal_entry_without_delays_is_written_as_it_ever_was_and_one_with_a_delay_comes_back():
    delivery = Delivery("e", 1)
    for delay in (0.0, 2.5):
        done = Finished(delivery, Effects(sent=[Sent(1, "t", delay), Sent(2)]), {}, REMOVED)
        data = CODEC.encode_finished(done)
        sent = CODEC._codec.decode(data, "x")[0]
        assert [len(each) for each in sent] == ([3, 2] if delay else [2, 2])
        assert CODEC.decode_finished(delivery, data).effects.sent == [Sent(1, "t", delay), Sent(2)]


_SHAPES = [
    b"\xc0",
    b"\x01",
    b"\xa1x",
    msgspec.msgpack.encode([[1, 2, 3, 4]]),
    msgspec.msgpack.encode([[]]),
]


@pytest.mark.parametrize("key", ["request/x", "timer/1-0", "timer/x", "inflight/", "outputs/1", "run/"])
@pytest.mark.parametrize("data", _SHAPES)
def test_data_of_another_shape_is_a_codec_error_of_its_section(key, data):
    with pytest.raises(CodecError) as caught:
        CODEC.decode({key: data}, 0)
    assert caught.value.path


_ENCODED = {section_key(section): CODEC.encode(section, value) for section, value in SECTIONS.items()}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(_ENCODED)), st.data())
def test_damaged_bytes_are_refused_or_are_other_data_and_never_anything_worse(key, data):
    """R11: a flipped, cut or grafted byte ends in a value or in a CodecError."""
    good: Any = bytearray(_ENCODED[key])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(good) - 1, 0)))
        match data.draw(st.sampled_from(["flip", "cut", "graft"])):
            case "flip" if good:
                good[at] = data.draw(st.integers(0, 255))
            case "cut":
                del good[at:]
            case _:
                good[at:at] = data.draw(st.binary(max_size=6))
    with contextlib.suppress(CodecError):
        CODEC.decode({key: bytes(good)}, 0)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(_ENCODED)), st.binary(max_size=60))
def test_any_bytes_at_all_are_refused_or_are_data(key, data):
    """R11."""
    with contextlib.suppress(CodecError):
        CODEC.decode({key: data}, 0)

"""Proves that a damaged or hostile row costs bounded time and memory, and does nothing: it is an error or it is data.

R11 (hostile bytes execute nothing), R09 (the storages), F35 (save demands all that load demands), F36 (no code in data).
"""

from __future__ import annotations

import builtins
import contextlib
import enum
import sqlite3
import struct
import sys
import time
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import (
    InMemoryCheckpointStorage,
    PostgresCheckpointStorage,
    SqliteCheckpointStorage,
    Upcaster,
    WorkflowBuilder,
    WorkflowContext,
    executor,
)
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.sections import SectionCodec
from actorflow.checkpoint.codec.values import Codec
from actorflow.errors import CheckpointError, CodecError
from actorflow.storage import Delta, merge, pack_delta, unpack_delta
from actorflow.testing.storage_conformance import make_commit, make_entry


class Colour(enum.Enum):
    RED = 1


@attrs.frozen
class Point:
    x: Any
    y: Any = None


@attrs.frozen
class Lifted:
    __actorflow_version__ = 3
    x: Any


REGISTRY = TypeRegistry(
    [Point, Colour, Lifted],
    [
        Upcaster("Old", to="Lifted"),
        Upcaster("Lifted", version=1, convert=lambda fields: {"x": fields["y"]}),
        Upcaster("Lifted", version=2, convert=lambda fields: fields),
    ],
)
CODEC = Codec(REGISTRY)
SECTIONS = SectionCodec(REGISTRY)


def extension(code, payload):
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, payload))


def packed(code, value):
    return extension(code, msgspec.msgpack.encode(value))


def nested(depth, code=1):
    data = b"\xc0"
    for _ in range(depth):
        data = extension(code, b"\x91" + data)
    return data


BIG = 2**61 - 1  # ints have their remainder by this as their hash


def colliding(count):
    return [msgspec.msgpack.Ext(5, (7 + BIG * k).to_bytes(12, "big", signed=True)) for k in range(1, count)]


@contextlib.contextmanager
def within(*, seconds, megabytes):
    """The block keeps to a ceiling of processor time, and of memory beside what there was.

    The ceilings are far above what is measured, and far below what the quadratic or the claimed cost would be.
    """
    tracemalloc.start()
    begun = time.process_time()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        took = time.process_time() - begun
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6, f"{peak / 1e6:.1f} MB"
    assert took < seconds, f"{took:.2f} s"


BOMBS = {
    "array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "text of 4 GB": b"\xdb\xff\xff\xff\xffx",
    "bytes of 4 GB": b"\xc6\xff\xff\xff\xffx",
    "extension of 4 GB": b"\xc9\xff\xff\xff\xff\x01x",
    "arrays that claim a billion each": b"\xdd\x3f\xff\xff\xff" * 400,
    "maps that claim a billion each": b"\xdf\x3f\xff\xff\xff\x01" * 400,
    "deep arrays": b"\x91" * 200_000 + b"\xc0",
    "deep maps": b"\x81\x01" * 200_000 + b"\xc0",
    "deep extensions": nested(5_000),
    "deep sets": nested(5_000, 3),
    "extension that says it is longer": b"\xc9\x00\x00\xff\xff\x01" + b"\x91" * 10,
    "colliding set": packed(2, colliding(100_000)),
    "colliding frozenset": packed(3, colliding(100_000)),
    "colliding keys": packed(4, [each for k in colliding(50_000) for each in (k, None)]),
    "colliding keys of a plain map": b"\xdf"
    + struct.pack(">I", 100_000)
    + b"".join(msgspec.msgpack.encode(each) + b"\xc0" for each in colliding(100_001)),
    "decimal beyond its range": extension(16, b"1e9999999999999999999999"),
    "decimal of a word": extension(16, b"1e"),
    "decimal with odd digits": extension(16, "1\u0662".encode()),
    "datetime beyond its range": packed(10, [10_000, 1, 1, 0, 0, 0, 0, 0, None]),
    "datetime of huge ints": packed(10, [2**63, 1, 1, 0, 0, 0, 0, 0, None]),
    "datetime with a zone that is none": packed(10, [2020, 1, 1, 0, 0, 0, 0, 0, [1]]),
    "timedelta beyond its range": packed(13, [999_999_999, 86_400 * 2, 0]),
    "zone of a day": packed(14, [1, 0, 0]),
    "a version beyond any": packed(7, ["Lifted", {"x": 1}, 2**63]),
    "a huge int for a version": packed(7, ["Lifted", {"x": 1}, msgspec.msgpack.Ext(5, b"\x7f" * 100_000)]),
    "a huge int for a member": packed(8, ["Colour", msgspec.msgpack.Ext(5, b"\x7f" * 100_000)]),
    "fields that are not named": packed(7, ["Point", {1: 2}]),
    "an upcaster that is given nothing": packed(7, ["Old", {}]),
    "an upcaster that is given a list": packed(7, ["Old", [1]]),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_a_codec_error_within_a_moment_and_some_megabytes(data):
    with within(seconds=10, megabytes=30), pytest.raises(CodecError) as caught:
        CODEC.decode(data, "state['x']")

    assert caught.value.path == "state['x']"
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1e999999999"),
        Decimal("-1e-999999999"),
        datetime.max,  # noqa: DTZ901
        datetime.min.replace(tzinfo=UTC),
        2**100_000,
        {Decimal("1e999999999"), 2**5000, datetime.max},  # noqa: DTZ901
    ],
    ids=["decimal", "small", "latest", "earliest", "huge", "set"],
)
def test_extreme_values_are_ordinary_ones(value):
    with within(seconds=10, megabytes=30):
        data = CODEC.encode(value, "v")
        assert CODEC.decode(data, "v") == value


@pytest.mark.parametrize("make", [set, frozenset, lambda items: dict.fromkeys([(each,) for each in items])])
def test_what_would_be_refused_for_its_hashes_on_load_is_refused_on_save(make):
    """F35."""

    class Odd(enum.IntEnum):
        ONE = 1

    colliding_ints = [7 + BIG * k for k in range(1, 1_500)]
    few = make(colliding_ints[:900])
    assert CODEC.decode(CODEC.encode(few, "v"), "v") == few

    with pytest.raises(CodecError, match="over a thousand elements or keys of one hash"):
        CODEC.encode(make(colliding_ints), "v")


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x91\xdf\xff\xff\xff\xff",
        b"\x93\x80\xdd\xff\xff\xff\xff",
        b"\x91\x81\xdb\xff\xff\xff\xffkey",
        b"\x91\x81\xa1k" + b"\x91" * 100_000,
        "text",
        7,
    ],
)
def test_a_payload_that_is_a_bomb_is_a_codec_error(payload):
    with within(seconds=10, megabytes=5), pytest.raises(CodecError):
        unpack_delta(payload, full=True)


def test_absurdly_many_and_long_keys_and_chains_cost_what_they_hold():
    deltas = [Delta(changed={}, full=True), *(Delta(changed={"k" * 100: b"v"}, cleared=("k",)) for _ in range(20_000))]
    with within(seconds=10, megabytes=60):
        assert len(merge(unpack_delta(pack_delta(each), each.full) for each in deltas)) == 1
    with within(seconds=10, megabytes=30), pytest.raises(CodecError):
        SECTIONS.decode({"x" * 10_000_000: b"\xc0"}, 0)


# Fuzz.


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats() | st.binary(max_size=5) | st.just(Colour.RED),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(st.text(max_size=3), inside, max_size=4)
        | st.builds(Point, inside, inside)
        | st.builds(Lifted, inside)
        | st.tuples(inside, inside)
    ),
    max_leaves=12,
)


@contextlib.contextmanager
def nothing_is_imported():
    """Whatever happens inside imports no module and compiles no code."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"called with {args}")

    names = ("__import__", "eval", "exec", "compile", "open")
    kept = {name: getattr(builtins, name) for name in names}
    before = set(sys.modules)
    try:
        for name in names:
            setattr(builtins, name, refuse)
        yield
    finally:
        for name, function in kept.items():
            setattr(builtins, name, function)
    assert set(sys.modules) == before


def mutated(data, draw):
    data = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, max(len(data) - 1, 0)))
        match draw.draw(st.sampled_from(["flip", "cut", "graft", "head", "swap"])):
            case "flip" if data:
                data[at] ^= 1 << draw.draw(st.integers(0, 7))
            case "cut":
                del data[at : at + draw.draw(st.integers(1, 8))]
            case "head":
                head = draw.draw(st.sampled_from([0xDD, 0xDF, 0xDB, 0xC6, 0xC9, 0xC8]))
                data[at : at + 5] = struct.pack(">BI", head, draw.draw(st.integers(0, 2**32 - 1)))
            case "swap" if data:
                other = draw.draw(st.integers(0, len(data) - 1))
                data[at], data[other] = data[other], data[at]
            case _:
                data[at:at] = draw.draw(st.binary(max_size=6))
    return bytes(data)


@settings(max_examples=300)
@given(st.data())
def test_mutated_values_are_data_or_codec_errors_and_import_nothing(draw):
    data = mutated(CODEC.encode(draw.draw(VALUES), "v"), draw)

    with within(seconds=10, megabytes=20), nothing_is_imported(), contextlib.suppress(CodecError):
        CODEC.decode(data, "v")


@settings(max_examples=300)
@given(st.data())
def test_mutated_payloads_are_checkpoints_or_errors_and_import_nothing(draw):
    contents = {
        "state/a": CODEC.encode(draw.draw(VALUES), "v"),
        "executor/e": CODEC.encode(Lifted(1), "v"),
        "run/": CODEC.encode(["run", 0], "v"),
        "inflight/": CODEC.encode([["e", CODEC.encode(1, "v"), [], None]], "v"),
    }
    payload = mutated(pack_delta(Delta(changed=contents, full=True)), draw)

    with within(seconds=10, megabytes=20), nothing_is_imported(), contextlib.suppress(CheckpointError):
        SECTIONS.decode(merge([unpack_delta(payload, full=True)]), 1)


# Sizes.


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_storage(request, tmp_path):
    """A function that opens one and the same storage, with whatever limits."""
    with contextlib.ExitStack() as stack:
        if request.param == "memory":
            yield _MemoryOfAnother()
        elif request.param == "sqlite":
            yield lambda **more: stack.enter_context(SqliteCheckpointStorage(tmp_path / "a.db", **more))
        else:
            database = request.getfixturevalue("database")
            where = {"dsn": database.dsn, "schema": database.schema}
            yield lambda **more: stack.enter_context(PostgresCheckpointStorage(**where, **more))


class _MemoryOfAnother:
    """Opens in-memory storages that have the same records: what no program can do, and a bug might."""

    def __init__(self):
        self.first = None

    def __call__(self, **more):
        storage = InMemoryCheckpointStorage(**more)
        self.first = self.first or storage
        for name in ("_records", "_workflows", "_children", "_journal", "_leases"):
            setattr(storage, name, getattr(self.first, name))
        storage._position = self.first._position
        return storage


def reads_rows(open_storage):
    return not isinstance(open_storage, _MemoryOfAnother)


async def test_a_payload_beyond_the_limit_is_refused_before_it_is_written(open_storage):
    storage = open_storage(max_payload=1000)
    await storage.save(make_commit("a"))
    framing = len(make_commit("b", "a", changed={"state/x": bytes(500)}).payload) - 500
    exact = make_commit("b", "a", changed={"state/x": bytes(1000 - framing)})
    assert len(exact.payload) == 1000
    await storage.save(exact)
    with pytest.raises(CheckpointError, match=r"checkpoint 'c' takes 2\d{3} bytes.*max_payload=1000"):
        await storage.save(make_commit("c", "b", changed={"state/x": bytes(2000)}))
    await storage.write_journal([make_entry(1, "b", payload=bytes(1000))])
    with pytest.raises(CheckpointError, match=r"journal entry 3 of workflow 'workflow' takes 1001 bytes"):
        await storage.write_journal([make_entry(2, "b"), make_entry(3, "b", payload=bytes(1001))])
    assert [each.id for each in await storage.list()] == ["b", "a"]
    assert len((await storage.load("b")).contents["state/x"]) == 1000 - framing
    assert await storage.read_journal("workflow", "b") == [make_entry(1, "b", payload=bytes(1000))]
    assert (await storage.fsck()).ok


async def test_a_row_beyond_the_limit_is_refused_before_it_is_read(open_storage):
    if not reads_rows(open_storage):
        return  # what is in memory costs nothing more when it is looked at
    generous = open_storage()
    await generous.save(make_commit("small"))
    await generous.save(make_commit("large", "small", changed={"state/x": bytes(20_000_000)}))
    await generous.write_journal([make_entry(0, "small", payload=bytes(20_000_000))])
    careful = open_storage(max_payload=1_000_000)
    with within(seconds=10, megabytes=5):
        with pytest.raises(CheckpointError, match="larger max_payload"):
            await careful.load("large")
        with pytest.raises(CheckpointError, match="larger max_payload"):
            await careful.latest(workflow_id="workflow")
        with pytest.raises(CheckpointError, match="larger max_payload"):
            await careful.read_journal("workflow", "small")
        with pytest.raises(CheckpointError, match="larger max_payload"):
            await careful.prune(keep_last=1)
    assert (await careful.load("small")).contents == {"state/last": b"small"}
    assert len(await careful.list()) == 2


async def test_a_row_beyond_the_limit_is_a_finding_and_not_read(open_storage):
    """R09: and neither those after it nor those that stand on it are accused, or not looked at."""
    generous = open_storage()
    await generous.save(make_commit("small"))
    await generous.save(make_commit("large", "small", changed={"state/x": bytes(20_000_000)}))
    await generous.save(make_commit("child", "large"))
    await generous.save(make_commit("another", workflow_id="other"))
    for each in (generous, open_storage(max_payload=30_000_000)):
        assert (await each.fsck()).ok
    careful = open_storage(max_payload=1_000_000)
    with within(seconds=10, megabytes=5):
        for workflow_id in (None, "workflow"):
            report = await careful.fsck(workflow_id=workflow_id)
            assert [(each.kind, each.checkpoint_id, each.workflow_id) for each in report.findings] == [
                ("row", "large", "workflow")
            ]
            assert "its payload takes 20000" in str(report)
            assert "more than max_payload=1000000: it was not read" in str(report)
    assert (await careful.fsck()).checkpoints == 4
    assert (await careful.fsck(workflow_id="other")).ok


async def test_a_chain_beyond_any_that_is_written_is_refused_before_it_is_read(open_storage):
    if not reads_rows(open_storage):
        return
    storage = open_storage()
    await storage.save(make_commit("0", changed={"state/x": bytes(900_000)}))
    for number in range(1, 40):
        await storage.save(make_commit(f"{number}", f"{number - 1}", changed={"state/x": bytes(900_000)}))
    careful = open_storage(max_payload=1_000_000)
    with (
        within(seconds=10, megabytes=5),
        pytest.raises(CheckpointError, match="the rows a checkpoint stands on hold"),
    ):
        await careful.load("39")
    assert len((await careful.load("10")).contents["state/x"]) == 900_000


async def test_a_prune_writes_no_row_that_would_not_be_read(open_storage):
    """A state that has outgrown the limit stays a chain: what cannot be written in full is not cut off."""
    if not reads_rows(open_storage):
        return
    storage = open_storage(max_payload=3_000_000)
    await storage.save(make_commit("0", changed={"state/0": bytes(2_000_000)}))
    await storage.save(make_commit("1", "0", changed={"state/1": bytes(2_500_000)}))
    with pytest.raises(CheckpointError, match="larger max_payload"):
        await storage.prune(keep_last=1)
    assert len(await storage.list()) == 2
    assert len((await storage.load("1")).contents) == 2
    assert (await storage.fsck()).ok


@pytest.mark.parametrize(
    ("statement", "field"),
    [
        ("UPDATE checkpoint SET id = printf('%.*c', 3000000, 'x') WHERE id = 'small'", "id"),
        ("UPDATE checkpoint SET digest = zeroblob(3000000) WHERE id = 'small'", "digest"),
        ("UPDATE workflow SET id = printf('%.*c', 3000000, 'x') WHERE id = 'workflow'", "workflow id"),
        ("UPDATE run SET graph_signature = printf('%.*c', 3000000, 'x')", "graph signature"),
    ],
)
async def test_a_field_beyond_the_limit_is_a_finding(tmp_path, statement, field):
    with SqliteCheckpointStorage(tmp_path / "a.db") as generous:
        await generous.save(make_commit("small"))
        await generous.save(make_commit("child", "small"))
        await generous.write_journal([make_entry(0, "child")])
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)
    connection.close()
    with SqliteCheckpointStorage(tmp_path / "a.db", max_payload=1_000_000) as careful, within(seconds=10, megabytes=5):
        findings = (await careful.fsck()).findings
    assert any(each.kind == "row" and f"its {field} takes 3000000 bytes" in each.detail for each in findings)


async def test_a_row_that_holds_no_bytes_is_refused(tmp_path):
    with SqliteCheckpointStorage(tmp_path / "a.db") as storage:
        await storage.save(make_commit("a"))
        for value in ("text", 7, 1.5):
            with sqlite3.connect(tmp_path / "a.db") as connection:
                connection.execute("UPDATE checkpoint SET payload = ?", (value,))
            connection.close()
            with pytest.raises(CheckpointError):
                await storage.load("a")


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "1", None])
def test_a_limit_that_is_none_is_refused(wrong):
    kinds = (
        InMemoryCheckpointStorage,
        partial(SqliteCheckpointStorage, "x.db"),
        partial(PostgresCheckpointStorage, "host=x"),
    )
    for kind in kinds:
        with pytest.raises(ValueError, match="max_payload is"):
            kind(max_payload=wrong)
    for kind in kinds[1:]:
        with pytest.raises(ValueError, match="1 to 1000000000"):
            kind(max_payload=2**31)


@pytest.mark.parametrize("version", [0, 2, 2**40])
async def test_a_checkpoint_of_an_unknown_format_is_refused(version):
    @executor
    async def step(message: str, ctx: WorkflowContext) -> None: ...

    storage = InMemoryCheckpointStorage()
    workflow = WorkflowBuilder(name="w", start_executor=step, checkpoint_storage=storage).build(id="workflow")
    commit = make_commit("a")
    info = attrs.evolve(commit.info, format_version=version, graph_signature=workflow.graph_signature)
    await storage.save(attrs.evolve(commit, info=info))

    await storage.save(make_commit("b"))
    refused = f"written in format {version}, this version of actorflow reads 1 to 1"
    with pytest.raises(CheckpointError, match=f"{refused}; resume it"):
        await workflow.run(checkpoint_id="a")
    with pytest.raises(CheckpointError, match=f"{refused}; fork it"):
        await storage.fork("a", workflow_id="fork")
    for pair in ("ab", "ba"):
        with pytest.raises(CheckpointError, match=f"{refused}; compare it"):
            await storage.diff(*pair)
    assert await storage.list("fork") == []

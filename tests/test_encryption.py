"""Proves that an encrypted storage is a storage, that nobody reads or changes a value without the key, and that no key ever shows.

R09: the whole conformance suite, over both storages. R11: a value that was changed, moved or written without a key is
refused before anything of it is decoded.
"""

from __future__ import annotations

import itertools
import logging
import re
import sys
import traceback
from contextlib import asynccontextmanager
from typing import Never

import attrs
import pytest
import trio

from actorflow import (
    LATEST,
    EncryptedStorage,
    Executor,
    InMemoryCheckpointStorage,
    SqliteCheckpointStorage,
    WorkflowBuilder,
    WorkflowContext,
    handler,
)
from actorflow.checkpoint.encryption import storage as encrypting
from actorflow.checkpoint.encryption.sealing import Keyring
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, CodecError, EncryptionKeyError
from actorflow.storage import Delta, chained, pack_delta, unpack_delta
from actorflow.testing.storage_conformance import StorageConformance, make_commit, make_entry

OLD_KEY, NEW_KEY = b"\x01the-old-key-of-2025-12-secret\x02\x03", b"\x01the-new-key-of-2026-11-secret\x02\x03"
KEYS = {"2025-12": OLD_KEY, "2026-11": NEW_KEY}


def encrypted(inner, keys=KEYS, current="2026-11"):
    return EncryptedStorage(inner, keys=keys, current=current)


class Forgeable(EncryptedStorage):
    """What the clauses take for granted of a storage that keeps the bytes of a commit as they are.

    They save hostile payloads, which an encrypted storage refuses: here they are written past it. And they compute digests
    of what they gave: here headers have those in place of the digests of what is stored, which `fsck` checks.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._digests = {}

    async def save(self, commit):
        if commit.payload.startswith(b"\xdd"):
            with pytest.raises(CodecError):
                await super().save(commit)
            return self._told(await self._storage.save(commit))
        info = await super().save(commit)
        parent = self._digests.get(commit.info.parent_id, "")
        as_given = attrs.evolve(commit.info, sequence=info.sequence)
        self._digests.setdefault(info.id, chained(as_given, commit.payload, commit.full, parent).digest)
        return self._told(info)

    def _told(self, info):
        return attrs.evolve(info, digest=self._digests.get(info.id, info.digest))

    async def load(self, checkpoint_id):
        return self._told(await super().load(checkpoint_id))

    async def latest(self, *, workflow_id):
        checkpoint = await super().latest(workflow_id=workflow_id)
        return None if checkpoint is None else self._told(checkpoint)

    async def list(self, *args, **kwargs):
        return [*map(self._told, await super().list(*args, **kwargs))]

    async def lineage(self, checkpoint_id):
        return [*map(self._told, await super().lineage(checkpoint_id))]

    async def children(self, checkpoint_id):
        return [*map(self._told, await super().children(checkpoint_id))]


class OverEncryption(StorageConformance):
    test_pages_of_rows_join_to_all_that_was_written = None  # rows are as they are stored: encrypted


class TestOverMemory(OverEncryption):
    @asynccontextmanager
    async def open_storage(self):
        yield Forgeable(InMemoryCheckpointStorage(), keys=KEYS, current="2026-11")


@pytest.mark.usefixtures("autojump_clock")
class TestOverMemoryUnderVirtualTime(TestOverMemory):
    pass


class TestOverSqlite(OverEncryption):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.paths = (tmp_path / f"{number}.db" for number in itertools.count())

    @asynccontextmanager
    async def open_storage(self):
        inner = SqliteCheckpointStorage(next(self.paths), synchronous="normal")
        with Forgeable(inner, keys=KEYS, current="2026-11") as storage:
            yield storage


@pytest.mark.usefixtures("autojump_clock")
class TestOverSqliteUnderVirtualTimeAndInThreads(TestOverSqlite):
    @pytest.fixture(autouse=True)
    def always_in_threads(self, monkeypatch):
        monkeypatch.setattr(encrypting, "_INLINE", -1)


def test_it_is_a_storage():
    assert isinstance(encrypted(InMemoryCheckpointStorage()), CheckpointStorage)


# Workflows.


@attrs.frozen
class Patient:
    name: str


class Ward(Executor):
    state: list[Patient]

    @handler
    async def admit(self, patient: Patient, ctx: WorkflowContext[Patient]) -> None:
        self.state.append(patient)
        ctx.set_state("latest", patient)
        ctx.send_message(patient)


class Desk(Executor):
    failing = False

    @handler
    async def greet(self, patient: Patient, ctx: WorkflowContext[Never, str]) -> None:
        if self.failing:
            raise OSError(f"no bed for {patient.name}")
        await ctx.yield_output(f"welcome {patient.name}")


class Archive(Executor):
    @handler
    async def keep(self, patient: Patient, ctx: WorkflowContext[Never, str]) -> None:
        ctx.set_state("archived", patient)


def build(storage, id="ward", failing=False):  # noqa: A002
    desk = Desk("desk")
    desk.failing = failing
    return (
        WorkflowBuilder(name="clinic", start_executor=Ward("ward"), checkpoint_storage=storage)
        .add_fan_out_edges("ward", [Archive("archive"), desk])
        .build(id=id)
    )


async def test_a_workflow_runs_fails_resumes_branches_and_prunes_as_without_it(tmp_path):
    path = tmp_path / "clinic.db"
    with encrypted(SqliteCheckpointStorage(path)) as storage:
        with pytest.raises(OSError, match="no bed"):
            await build(storage, failing=True).run(Patient("Ada Lovelace"))
        again = await build(storage).run(checkpoint_id=LATEST)
        assert again.outputs == ["welcome Ada Lovelace"]
        branch = build(storage, id="branch")
        await branch.run(checkpoint_id=again.checkpoint_id)
        assert (await branch.run(Patient("Grace Hopper"))).outputs == ["welcome Grace Hopper"]
        assert await storage.prune(keep_last=1) > 0
        late = build(storage, id="branch")
        await late.run(checkpoint_id=LATEST)
        assert late.executors["ward"].state == [Patient("Ada Lovelace"), Patient("Grace Hopper")]

    for file in tmp_path.iterdir():
        assert b"Lovelace" not in file.read_bytes()
        assert b"Hopper" not in file.read_bytes()
        assert NEW_KEY not in file.read_bytes()


async def test_what_finished_is_kept_in_an_encrypted_journal():
    inner = InMemoryCheckpointStorage()
    with pytest.raises(OSError, match="no bed"):
        await build(encrypted(inner), failing=True).run(Patient("Ada"))
    head = (await inner.list(workflow_id="ward"))[0]

    (entry,) = await inner.read_journal("ward", head.id)

    assert b"Ada" not in entry.payload
    assert b"Ada" in (await encrypted(inner).read_journal("ward", head.id))[0].payload


async def test_sections_that_did_not_change_are_not_written_again():
    class Recording(InMemoryCheckpointStorage):
        async def save(self, commit):
            saved.append(unpack_delta(commit.payload, commit.full))
            return await super().save(commit)

    saved: list[Delta] = []
    workflow = build(encrypted(Recording()))
    await workflow.run(Patient("Ada"))
    saved.clear()
    await workflow.run(Patient("Ada"))

    written = [key for delta in saved for key in delta.changed]
    assert written.count("executor/ward") == 1
    assert "state/latest" not in written
    assert "state/archived" not in written


async def test_storage_below_prunes_lists_and_merges_without_any_key():
    inner = InMemoryCheckpointStorage()
    storage = encrypted(inner)
    for commit in (make_commit("a", changed={"state/x": b"1"}), make_commit("b", "a"), make_commit("c", "b")):
        await storage.save(commit)

    assert await inner.prune(keep_last=1) == 2

    assert (await storage.load("c")).contents == {"state/x": b"1", "state/last": b"c"}


async def test_tools_see_through_it():
    """What there is to look after checkpoints with works on values, and the check of rows on what is stored."""
    inner = InMemoryCheckpointStorage()
    storage = encrypted(inner)
    workflow = build(storage)
    await workflow.run(Patient("Ada"))
    await workflow.run(Patient("Grace"))
    history = await storage.history("ward")

    report = await storage.fsck(check=workflow.check_checkpoint, deep=True)
    assert report.ok, str(report)
    diff = await storage.diff(history[2].id, history[-1].id, types=workflow.stored_types)
    assert (diff.state["latest"].before, diff.state["latest"].after) == (Patient("Ada"), Patient("Grace"))
    await storage.fork(history[2].id, workflow_id="fork", state={"latest": Patient("Eve")}, types=workflow.stored_types)
    fork = build(storage, id="fork")
    assert (await fork.run(checkpoint_id=LATEST)).outputs == ["welcome Ada"]
    assert all(b"Eve" not in row.payload for row in await inner.read_rows())


async def test_room_is_given_back_by_the_storage_below_without_a_key(tmp_path):
    with SqliteCheckpointStorage(tmp_path / "a.db", synchronous="normal") as inner:
        storage = encrypted(inner)
        await storage.save(make_commit("a", changed={"state/x": bytes(3_000_000)}))
        await storage.delete("a")

        assert await encrypted(inner, {"other": bytes(32)}, "other").vacuum() > 2_000_000
        assert await storage.vacuum() == 0


async def test_a_storage_below_without_room_to_give_back_is_named():
    with pytest.raises(CheckpointError, match="<InMemoryCheckpointStorage with 0 checkpoints> has no vacuum"):
        await encrypted(InMemoryCheckpointStorage()).vacuum()


async def test_a_value_that_was_changed_is_a_finding():
    inner = InMemoryCheckpointStorage()
    storage = encrypted(inner)
    workflow = build(storage)
    await workflow.run(Patient("Ada"))
    only_old = encrypted(inner, {"2025-12": OLD_KEY}, "2025-12")

    report = await only_old.fsck(check=workflow.check_checkpoint)

    assert [(each.kind, "'2026-11'" in each.detail) for each in report.findings] == [("check", True)]


# Rotation.


async def test_keys_are_rotated_and_old_values_stay_readable():
    inner = InMemoryCheckpointStorage()
    await encrypted(inner, {"2025-12": OLD_KEY}, "2025-12").save(make_commit("a", changed={"state/x": b"1"}))
    await encrypted(inner).save(make_commit("b", "a"))

    assert (await encrypted(inner).load("b")).contents == {"state/x": b"1", "state/last": b"b"}
    only_new = encrypted(inner, {"2026-11": NEW_KEY})
    with pytest.raises(
        EncryptionKeyError, match=r"state/x of checkpoint 'b'.*'2025-12'.*given are '2026-11'.*give"
    ) as caught:
        await only_new.load("b")
    assert (caught.value.key_id, isinstance(caught.value, CheckpointError)) == ("2025-12", True)


# Tampering.


async def stored(inner, checkpoint_id):
    return dict((await inner.load(checkpoint_id)).contents)


async def put(inner, contents, workflow_id="workflow"):
    payload = pack_delta(Delta(changed=contents, full=True))
    commit = make_commit("forged", workflow_id=workflow_id, full=True)
    await inner.save(attrs.evolve(commit, payload=payload))


@pytest.mark.parametrize("damage", ["bit", "cut", "short", "swap", "key id", "plain", "form"])
async def test_a_value_that_was_changed_is_refused_and_nothing_of_it_is_read(damage):
    inner = InMemoryCheckpointStorage()
    await encrypted(inner).save(make_commit("a", changed={"state/x": b"one", "state/y": b"two"}))
    contents = await stored(inner, "a")
    value = contents["state/x"]
    contents["state/x"] = {
        "bit": value[:-1] + bytes([value[-1] ^ 1]),
        "cut": value[:-1],
        "short": value[:12],
        "swap": contents["state/y"],
        "key id": value.replace(b"\x072026-11", b"\x072025-12"),
        "plain": b"one",
        "form": b"\xc1\x02" + value[2:],
    }[damage]
    await put(inner, contents)

    with pytest.raises(CodecError, match=r"state/x of checkpoint 'forged'"):
        await encrypted(inner).load("forged")


async def test_every_single_byte_of_a_value_counts():
    keyring = Keyring(KEYS, "2026-11")
    sealed = keyring.seal(b"value", ("place",))

    for index in range(len(sealed)):
        for bit in range(8):
            changed = sealed[:index] + bytes([sealed[index] ^ (1 << bit)]) + sealed[index + 1 :]
            with pytest.raises((CodecError, EncryptionKeyError)):
                keyring.open(changed, ("place",), "it")


async def test_a_value_of_another_workflow_is_refused():
    inner = InMemoryCheckpointStorage()
    await encrypted(inner).save(make_commit("a", changed={"state/x": b"one"}))
    await put(inner, await stored(inner, "a"), workflow_id="another")

    with pytest.raises(CodecError, match="comes from another place"):
        await encrypted(inner).load("forged")


async def test_an_entry_of_another_place_in_the_journal_is_refused():
    inner = InMemoryCheckpointStorage()
    storage = encrypted(inner)
    await storage.save(make_commit("a"))
    await storage.write_journal([make_entry(0, "a")])
    (entry,) = await inner.read_journal("workflow", "a")
    await inner.write_journal([attrs.evolve(entry, index=1)])

    with pytest.raises(CodecError, match=r"journal entry 1 of workflow 'workflow' after checkpoint 'a'"):
        await storage.read_journal("workflow", "a")


async def test_a_key_of_the_same_id_that_is_another_key_is_refused():
    inner = InMemoryCheckpointStorage()
    await encrypted(inner, {"k": OLD_KEY}, "k").save(make_commit("a"))

    with pytest.raises(CodecError, match="that id stands for another key"):
        await encrypted(inner, {"k": NEW_KEY}, "k").load("a")


async def test_what_was_written_without_encryption_is_not_taken_for_encrypted():
    inner = InMemoryCheckpointStorage()
    await inner.save(make_commit("a"))

    with pytest.raises(CodecError, match="is not encrypted; read it with the plain storage"):
        await encrypted(inner).load("a")


async def test_what_is_encrypted_is_not_taken_for_plain():
    inner = InMemoryCheckpointStorage()
    await build(encrypted(inner)).run(Patient("Ada"))

    with pytest.raises(CodecError):
        await build(inner).run(checkpoint_id=LATEST)


def test_equal_values_are_never_encrypted_alike():
    keyring = Keyring(KEYS, "2026-11")

    assert len({keyring.seal(b"value", ("place",)) for _ in range(100)}) == 100


# Verbs it does not know.


class WithMore(InMemoryCheckpointStorage):
    colour = "blue"

    async def count(self, workflow_id):
        return len(await self.list(workflow_id))

    async def save_many(self, commits):
        return [await self.save(commit) for commit in commits]


async def test_other_verbs_pass_and_can_write_nothing_plain():
    inner = WithMore()
    storage = encrypted(inner)
    await storage.save(make_commit("a"))

    assert await storage.count("workflow") == 1
    assert storage.colour == "blue"
    with pytest.raises(CheckpointError, match="save_many would write values as they are"):
        await storage.save_many([make_commit("b", "a")])
    with pytest.raises(AttributeError):
        storage.nothing
    with pytest.raises(AttributeError):
        storage._records
    assert len(await inner.list()) == 1


# Arguments, and what shows.


@pytest.mark.parametrize(
    ("keys", "current", "says"),
    [
        ({}, "k", "none of the ids"),
        ({"k": OLD_KEY}, "other", r"current is none of the ids \['k'\]"),
        ({"k": OLD_KEY}, OLD_KEY, r"current is none of the ids \['k'\]"),
        ({OLD_KEY: "k"}, "k", "the id of a key is a str of 1 to 255 bytes, not bytes"),
        ({"k": OLD_KEY[:16]}, "k", "key 'k' is 16 bytes; it is 32 random bytes"),
        ({"k": OLD_KEY.decode("latin-1")}, "k", "key 'k' is str; it is 32 random bytes"),
        ({"": OLD_KEY}, "", "the id of a key"),
        ({"k" * 256: OLD_KEY}, "k", "the id of a key"),
        ({"\ud800": OLD_KEY}, "k", "the id of a key"),
        ({7: OLD_KEY}, 7, "the id of a key"),
    ],
)
def test_arguments_that_cannot_work_are_refused(keys, current, says):
    with pytest.raises(ValueError, match=says) as caught:
        encrypted(InMemoryCheckpointStorage(), keys, current)

    assert "-key" not in str(caught.value)


@pytest.mark.parametrize("storage", [InMemoryCheckpointStorage, None, "file.db"])
def test_what_is_no_storage_is_refused(storage):
    with pytest.raises(ValueError, match="storage is a CheckpointStorage"):
        encrypted(storage)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

    with pytest.raises(ModuleNotFoundError, match=re.escape("actorflow[crypto]")):
        encrypted(InMemoryCheckpointStorage())


async def test_no_key_shows_in_reprs_errors_logs_or_events(caplog):
    caplog.set_level(logging.DEBUG)
    inner = InMemoryCheckpointStorage()
    storage = encrypted(inner)
    shown = [repr(storage), str(storage), repr(storage._keyring), repr(vars(storage)), repr(vars(storage._keyring))]
    with pytest.raises(OSError, match="no bed") as failed:
        await build(storage, failing=True).run(Patient("Ada"))
    shown.append("".join(traceback.format_exception(failed.value)))
    shown.append(repr((await build(storage).run(checkpoint_id=LATEST)).events))
    for keys in ({"other": OLD_KEY}, {"2026-11": OLD_KEY}):
        with pytest.raises(CheckpointError) as caught:
            await build(encrypted(inner, keys, next(iter(keys)))).run(checkpoint_id=LATEST)
        shown.append("".join(traceback.format_exception(caught.value)))
    text = "\n".join([*shown, caplog.text])

    for key in KEYS.values():
        for form in (repr(key)[2:-1], key.hex(), "old-key", "new-key"):
            assert form not in text


async def test_large_values_are_encrypted_in_a_thread_so_that_others_go_on(monkeypatch):
    monkeypatch.setattr(encrypting, "_INLINE", 1000)
    threads = []

    async def watched(work, *args):
        threads.append(work.__name__)
        return await trio.to_thread.run_sync(work, *args)

    monkeypatch.setattr(encrypting, "run_in_thread", watched)
    storage = encrypted(InMemoryCheckpointStorage())
    await storage.save(make_commit("small"))
    await storage.save(make_commit("large", "small", changed={"state/x": bytes(2000)}))
    await storage.load("large")

    assert threads == ["_sealed_payload", "_opened_contents"]

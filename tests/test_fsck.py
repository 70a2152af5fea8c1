"""`fsck` finds what is not as it was written, names it, and accuses nothing else; whatever bytes it meets, it reports.

R09 (hostile bytes), F39 (mixed or torn checkpoints): every field of a real SQLite file is altered behind the storage's back.
"""

from __future__ import annotations

import sqlite3
import tracemalloc

import apsw
import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorflow import InMemoryCheckpointStorage, PostgresCheckpointStorage, SqliteCheckpointStorage
from actorflow.checkpoint import fsck as fsck_module
from actorflow.checkpoint.digests import reseal
from actorflow.checkpoint.fsck import MOST_FINDINGS
from actorflow.checkpoint.sqlite import inspecting
from actorflow.checkpoint.stored_rows import Finding
from actorflow.errors import CheckpointError
from actorflow.testing.storage_conformance import RandomHistory, make_commit, make_entry

BRANCHED = [
    make_commit("root", changed={"state/x": b"1", "state/y": b"2"}),
    make_commit("a", "root"),
    make_commit("b", "a", run_id="second run"),
    make_commit("branch", "a", workflow_id="other", full=True, workflow_name="another", run_id="third run"),
    make_commit("c", "b", run_id="second run"),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints.db"


async def write(path, commits=BRANCHED):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        for commit in commits:
            await storage.save(commit)


async def look(path, **arguments):
    with SqliteCheckpointStorage(path) as storage:
        return await storage.fsck(**arguments)


def alter(path, *statements):
    """Change a file as a stranger would, who minds no rule of the tables."""
    connection = apsw.Connection(str(path))
    connection.pragma("ignore_check_constraints", True)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def told(report):
    return [(finding.kind, finding.checkpoint_id) for finding in report.findings]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def storage(request, path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage()
    elif request.param == "postgres":
        database = request.getfixturevalue("database")
        with PostgresCheckpointStorage(database.dsn, schema=database.schema) as opened:
            yield opened
    else:
        with SqliteCheckpointStorage(path, synchronous="normal") as opened:
            yield opened


async def test_a_sound_storage_has_no_findings_whatever_was_written_deleted_and_pruned(storage):
    for seed in range(3):
        history = RandomHistory(seed)
        for _ in range(60):
            await storage.save(history.next_commit())
        report = await storage.fsck()
        assert report.ok
        assert (report.checkpoints, report.workflows) == (60, 3)
        assert await storage.prune(keep_last=3) == 51
        assert (await storage.fsck()).ok
        for info in await storage.list():
            if not await storage.children(info.id):
                await storage.delete(info.id)
        assert (await storage.fsck()).ok
        await storage.prune(keep_last=1)
        for info in await storage.list():
            await storage.delete(info.id)


async def test_an_empty_storage_is_sound(storage):
    report = await storage.fsck()
    assert report.ok
    assert str(report) == "0 checkpoints of 0 workflows, 0 bytes: no findings"


async def test_a_report_counts_bytes_and_workflow_ids(storage):
    for commit in BRANCHED:
        await storage.save(commit)
    report = await storage.fsck()
    assert (report.checkpoints, report.workflows) == (5, 2)
    assert report.bytes == sum(len(commit.payload) for commit in BRANCHED)
    one = await storage.fsck(workflow_id="other")
    assert (one.checkpoints, one.workflows, one.bytes) == (1, 1, len(BRANCHED[3].payload))
    assert (await storage.fsck(workflow_id="nobody")).checkpoints == 0
    assert (await storage.fsck(workflow_id="\ud800")).checkpoints == 0


async def test_what_was_written_before_there_were_digests_is_no_damage(path):
    await write(path)
    alter(path, "UPDATE checkpoint SET digest = NULL")
    assert (await look(path)).ok


FIELDS = [
    ("id = 'z'", "digest"),
    ("id = x'ff'", "row"),
    ("id = CAST(x'ff' AS TEXT)", "row"),
    ("superstep = 2", "digest"),
    ("superstep = 'two'", "row"),
    ("kind = 2", "digest"),
    ("kind = 3", "row"),
    ("kind = -1", "row"),
    ("created_at = created_at + 1", "digest"),
    ("created_at = 9223372036854775807", "row"),
    ("created_at = 1.5", "row"),
    ("derived_from = 'elsewhere'", "digest"),
    ("derived_from = x'00'", "row"),
    ("format_version = 0", "digest"),
    ("format_version = 'x'", "row"),
    ("sequence = 77", "digest"),
    ("sequence = 'x'", "row"),
    ("digest = zeroblob(32)", "digest"),
    ("digest = x''", "digest"),
    ("digest = 'text'", "row"),
    ("digest = NULL", "digest"),
    ("seal = zeroblob(32)", "seal"),
    ("seal = 'text'", "row"),
    ("is_full = NOT is_full", "digest"),
    ("is_full = 2", "row"),
    ("is_full = 'x'", "row"),
    ("payload = x'9180'", "digest"),
    ("payload = x''", "payload"),
    ("payload = x'dfffffffff'", "payload"),
    ("payload = x'9280ddffffffff'", "payload"),
    ("payload = substr(payload, 1, length(payload) - 1)", "payload"),
    ("payload = CAST(payload || x'00' AS BLOB)", "payload"),
    ("payload = 'text'", "row"),
    ("payload = 12", "row"),
    ("parent = 1", "digest"),
    ("parent = NULL, is_full = TRUE", "digest"),
    ("parent = NULL", "chain"),
    ("parent = 4, is_full = FALSE", "chain"),
    ("parent = 999", "parent"),
    ("parent = 5", "parent"),
    ("parent = position", "parent"),
    ("parent = 'x'", "row"),
    ("workflow = 2, run = 3, definition = 2, sequence = 9", "chain"),
    ("workflow = 2", "row"),
    ("definition = 2", "row"),
    ("workflow = 99", "row"),
    ("run = 1", "digest"),
    ("run = 3", "row"),
    ("run = 99", "row"),
    ("run = 'x'", "row"),
]


@pytest.mark.parametrize(("change", "kind"), FIELDS, ids=[change for change, _ in FIELDS])
async def test_every_altered_field_is_found_and_nothing_else(path, change, kind):
    """R09, F39: the row is named, and neither its neighbours nor the other rows of its run are accused."""
    await write(path)
    alter(path, f"UPDATE checkpoint SET {change} WHERE position = 5")
    report = await look(path)
    assert [found for found, _ in told(report)] == [kind], str(report)
    if not change.startswith("id"):
        assert told(report) == [(kind, "c")]
    assert not report.ok


@pytest.mark.parametrize(("change", "kind"), FIELDS, ids=[change for change, _ in FIELDS])
async def test_what_follows_a_damaged_checkpoint_is_not_accused_for_it(path, change, kind):
    await write(path)
    await write(path, [make_commit("d", "c"), make_commit("e", "d")])
    alter(path, f"UPDATE checkpoint SET {change} WHERE position = 5")
    report = await look(path)
    assert [found for found, _ in told(report)] == [kind], str(report)
    assert not {"d", "e"} & {name for _, name in told(report)}


@pytest.mark.parametrize("change", ["payload = x'9180'", "derived_from = 'x'", "digest = zeroblob(32)", "seal = NULL",
                                    "seal = zeroblob(32)", "superstep = 9", "parent = 4"])  # fmt: skip
async def test_what_a_prune_rewrote_is_vouched_for_as_well(path, change):
    await write(path)
    with SqliteCheckpointStorage(path) as storage:
        assert await storage.prune(workflow_id="workflow", keep_last=2) == 2
        assert (await storage.fsck()).ok
    alter(path, f"UPDATE checkpoint SET {change} WHERE id = 'b'")
    report = await look(path)
    assert [name for _, name in told(report)] == ["b"], str(report)


async def test_names_shared_by_checkpoints_are_part_of_what_is_sealed(path):
    for statement, accused in (
        ("UPDATE run SET graph_signature = 'other' WHERE id = 'third run'", ["branch"]),
        ("UPDATE run SET id = 'other' WHERE id = 'third run'", ["branch"]),
        ("UPDATE definition SET name = 'other' WHERE name = 'another'", ["branch"]),
        ("UPDATE workflow SET id = 'x' WHERE id = 'other'", ["branch"]),
        ("UPDATE run SET workflow = 1 WHERE id = 'third run'", ["branch"]),
        ("UPDATE run SET graph_signature = x'ff' WHERE id = 'third run'", ["branch"]),
    ):
        path.unlink(missing_ok=True)
        await write(path)
        alter(path, statement)
        assert [name for _, name in told(await look(path))] == accused, statement


async def test_a_row_that_is_gone_is_missed_by_its_child(path):
    await write(path)
    alter(path, "DELETE FROM checkpoint WHERE id = 'b'")
    assert told(await look(path)) == [("parent", "c")]


async def test_a_row_put_in_the_place_of_another_is_found(path):
    """F39: an older state under the name of a newer one."""
    await write(path)
    alter(path, "UPDATE checkpoint SET payload = (SELECT payload FROM checkpoint WHERE id = 'a') WHERE id = 'b'")
    assert told(await look(path)) == [("digest", "b")]


async def test_sequences_that_were_not_given_in_order_are_found_where_no_digest_tells(path):
    await write(path)
    alter(path, "UPDATE checkpoint SET digest = NULL", "UPDATE checkpoint SET sequence = 9 WHERE id = 'a'")
    assert told(await look(path)) == [("sequence", "b"), ("sequence", "c")]
    alter(path, "UPDATE checkpoint SET sequence = 0 WHERE id = 'a'")
    assert told(await look(path)) == [("sequence", "a")]


async def test_orphans_of_the_journal_and_of_leases_are_found(path):
    await write(path)
    with SqliteCheckpointStorage(path, lease_ttl=1000) as storage:
        lease = await storage.acquire_lease("never began", owner="dead")
        await storage.acquire_lease("about to begin", owner="alive")
        kept = await storage.acquire_lease("workflow", owner="run")
        await storage.write_journal([make_entry(0, "c"), make_entry(1, "c")], lease=kept)
        assert (await storage.fsck()).ok
    alter(
        path,
        f"UPDATE lease SET expires = 5 WHERE epoch = {lease.epoch}",
        "UPDATE journal SET follows = 77 WHERE place = 1",
    )
    report = await look(path)
    assert [(finding.kind, finding.workflow_id) for finding in report.findings] == [
        ("journal", "workflow"),
        ("lease", "never began"),
    ]
    assert "entry 1" in str(report)
    assert (await look(path, workflow_id="workflow")).ok


async def test_orphans_in_memory_are_found(autojump_clock):
    storage = InMemoryCheckpointStorage()
    await storage.save(make_commit("a"))
    await storage.acquire_lease("never began", owner="dead")
    await storage.write_journal([make_entry(0, "a")])
    assert (await storage.fsck()).ok
    await trio.sleep(100)
    storage._remove(storage._records["a"])
    report = await storage.fsck()
    assert [(finding.kind, finding.workflow_id) for finding in report.findings] == [
        ("journal", "workflow"),
        ("lease", "never began"),
    ]


async def test_an_index_that_lost_an_entry_is_a_finding_about_the_file(path):
    await write(path)
    connection = apsw.Connection(str(path))
    connection.execute("DROP INDEX checkpoint_by_parent")
    sql = "CREATE INDEX checkpoint_by_parent ON checkpoint (parent)"
    connection.execute(f"{sql} WHERE parent > 2")
    connection.pragma("writable_schema", True)
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'checkpoint_by_parent'", (sql,))
    connection.close()
    report = await look(path)
    assert {finding.kind for finding in report.findings} == {"file"}


async def test_a_file_full_of_damage_is_told_within_bounds(path):
    await write(path, [make_commit(f"{number}") for number in range(MOST_FINDINGS + 300)])
    alter(path, "UPDATE checkpoint SET superstep = 9")
    report = await look(path)
    assert len(report.findings) == MOST_FINDINGS
    assert report.omitted == 300
    assert "and 300 more" in str(report)


async def test_memory_is_bounded_by_a_page_however_large_the_file(path):
    """R09, R20: sixty megabytes of payloads, a few at a time."""
    large = {"state/x": bytes(3_000_000)}
    await write(path, [make_commit(f"{number}", changed=large) for number in range(20)])
    tracemalloc.start()
    try:
        report = await look(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.ok
    assert report.bytes > 60_000_000
    assert peak < 30_000_000


async def test_a_check_is_given_the_latest_of_every_workflow_id(storage):
    for commit in BRANCHED:
        await storage.save(commit)
    seen = []
    assert (await storage.fsck(check=lambda checkpoint: seen.append(checkpoint.id))).ok
    assert sorted(seen) == ["branch", "c"]
    seen.clear()
    assert (await storage.fsck(check=lambda checkpoint: seen.append(checkpoint.id), deep=True)).ok
    assert seen == ["root", "a", "b", "branch", "c"]


async def test_what_a_check_raises_is_a_finding(storage):
    for commit in BRANCHED:
        await storage.save(commit)

    def refuse(checkpoint):
        if checkpoint.workflow_id == "other":
            raise LookupError("no such thing")

    report = await storage.fsck(check=refuse)
    assert told(report) == [("check", "branch")]
    assert "LookupError: no such thing" in str(report)


async def test_what_is_damaged_is_not_checked(path):
    await write(path)
    alter(path, "UPDATE checkpoint SET superstep = 9 WHERE id = 'c'")
    assert told(await look(path, check=lambda checkpoint: 1 / 0)) == [("digest", "c"), ("check", "branch")]


async def test_writers_and_prunes_go_on_while_it_looks(storage):
    async def write_on(name):
        parent = None
        for number in range(30):
            parent = (await storage.save(make_commit(f"{name}-{number}", parent, workflow_id=name))).id
            if number % 10 == 9:
                await storage.prune(workflow_id=name, keep_last=2)
        for info in await storage.list(name, limit=1):
            await storage.delete(info.id)
            await storage.save(make_commit(f"{name} again", info.parent_id, workflow_id=name))

    async with trio.open_nursery() as nursery:
        for name in ("red", "green", "blue"):
            nursery.start_soon(write_on, name)
        for _ in range(20):
            report = await storage.fsck(check=lambda checkpoint: checkpoint.contents)
            assert report.ok, str(report)


async def test_it_can_be_cancelled_and_leaves_the_storage_as_it_was(storage):
    for number in range(250):
        await storage.save(make_commit(f"{number}"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await storage.fsck()
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        await storage.fsck(check=lambda checkpoint: scope.cancel(), deep=True)
    assert scope.cancelled_caught
    assert (await storage.fsck()).ok


async def test_the_check_of_the_file_itself_can_be_cancelled(path):
    await write(path, [make_commit(f"{number}", changed={"state/x": bytes(500_000)}) for number in range(100)])
    with SqliteCheckpointStorage(path) as storage:
        with trio.move_on_after(0.005) as scope:
            while True:
                await storage.inspect()
        assert scope.cancelled_caught
        assert (await storage.fsck()).ok


async def test_a_cancellation_that_comes_while_a_thread_looks_is_heard(path, monkeypatch):
    await write(path)
    scope = trio.CancelScope()
    whole = inspecting._file_faults

    def cancel_first(connection):
        trio.from_thread.run_sync(scope.cancel)
        yield from whole(connection)

    monkeypatch.setattr(inspecting, "_STEPS", 1)
    monkeypatch.setattr(inspecting, "_file_faults", cancel_first)
    with SqliteCheckpointStorage(path) as storage:
        with scope:
            await storage.inspect()
        assert scope.cancelled_caught
        monkeypatch.undo()
        assert (await storage.fsck()).ok


async def test_a_run_that_names_nothing_is_a_finding_about_the_file(path):
    await write(path)
    alter(path, "INSERT INTO run (id, workflow, definition, graph_signature) VALUES ('lost', 77, 1, '')")
    assert told(await look(path)) == [("file", "")]


async def test_a_number_given_anew_after_a_delete_is_no_damage(monkeypatch):
    """Between two pages the latest is deleted, and another one gets its number."""
    monkeypatch.setattr(fsck_module, "PAGE", 3)

    class Busy(InMemoryCheckpointStorage):
        async def read_rows(self, after=0, limit=100, *, workflow_id=None):
            rows = await super().read_rows(after, limit, workflow_id=workflow_id)
            if after == 0 and "c" in self._records:
                await self.delete("c")
                await self.save(make_commit("another", "b"))
            return rows

    storage = Busy()
    for commit in (make_commit("a"), make_commit("b", "a"), make_commit("c", "b")):
        await storage.save(commit)
    report = await storage.fsck()
    assert report.ok, str(report)
    assert report.checkpoints == 4


async def test_a_seal_on_what_was_never_cut_off_is_found_however_well_made():
    storage = InMemoryCheckpointStorage()
    for commit in BRANCHED:
        await storage.save(commit)
    record = storage._records["b"]
    sealed = attrs.evolve(record, seal=reseal(record.info, record.payload, record.full))
    storage._records["b"] = storage._workflows["workflow"]["b"] = sealed
    assert told(await storage.fsck()) == [("seal", "b")]


async def test_rows_that_cannot_be_read_end_the_report_of_a_file_known_to_be_damaged():
    """And are an error where nothing is known: the storage is out of reach."""

    class Broken(InMemoryCheckpointStorage):
        known = True

        async def inspect(self):
            return [Finding("file", "", "", "pages are torn")] if self.known else []

        async def read_rows(self, after=0, limit=100, *, workflow_id=None):
            if after:
                raise CheckpointError("no page there")
            return await super().read_rows(after, 1, workflow_id=workflow_id)

    storage = Broken()
    await storage.save(make_commit("a"))
    report = await storage.fsck()
    assert [finding.kind for finding in report.findings] == ["file", "file"]
    assert "no page there" in str(report)
    storage.known = False
    with pytest.raises(CheckpointError, match="no page there"):
        await storage.fsck()


async def test_a_file_that_is_none_of_ours_is_an_error(path):
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(CheckpointError):
        await look(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_bytes_are_in_the_file_it_reports_or_refuses(tmp_path_factory, data):
    """R09: bytes of the file are altered at random; it comes back with a report or a CheckpointError, and nothing else."""
    path = tmp_path_factory.mktemp("hostile") / "checkpoints.db"

    async def make_file():
        await write(path, [make_commit("root"), *(make_commit(f"{n}", "root") for n in range(40))])

    trio.run(make_file)
    alter(path, "PRAGMA journal_mode = delete")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(100, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)

    async def check_file():
        try:
            report = await look(path)
        except CheckpointError:
            return
        assert report.checkpoints <= 100

    trio.run(check_file)


def test_the_library_of_the_interpreter_reads_the_same_file(path):
    """What the docs say of the columns is true for any SQLite."""
    trio.run(write, path)
    connection = sqlite3.connect(path)
    (length,) = connection.execute("SELECT length(digest) FROM checkpoint WHERE id = 'c'").fetchone()
    connection.close()
    assert length == 32


async def test_a_header_that_lies_in_memory_is_found():
    storage = InMemoryCheckpointStorage()
    for commit in BRANCHED:
        await storage.save(commit)
    record = storage._records["a"]
    lie = attrs.evolve(record, info=attrs.evolve(record.info, superstep=77))
    storage._records["a"] = storage._workflows["workflow"]["a"] = lie
    assert told(await storage.fsck()) == [("digest", "a")]

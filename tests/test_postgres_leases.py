"""What leases in one PostgreSQL schema promise between processes and machines, and what they cost.

They go by the server's clock. A holder that was stopped beyond its lease writes nothing when it wakes, and one that is
stopped in the middle of a transaction holds up nobody for long (P7, R08).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import attrs
import pytest
import trio

from actorflow.checkpoint.postgres.insertion import Insertion
from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage
from actorflow.errors import CheckpointError, CheckpointNotFoundError, LeaseHeldError, LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry
from tests.postgres import until


def open_storage(database, **limits):
    return PostgresCheckpointStorage(database.dsn, schema=database.schema, **limits)


@pytest.fixture
def open_for_test(database):
    """A function that opens a storage, which is closed when the test ends in any way."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(open_storage(database))


@pytest.fixture
def storage(database):
    with open_storage(database) as storage:
        yield storage


def start(code, database, *args):
    command = [sys.executable, "-c", code, database.dsn, database.schema, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


# Between processes


HOLDER = """
import signal, sys, trio
from actorflow import PostgresCheckpointStorage
from actorflow.errors import LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry

dsn, schema, rounds, tries = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

async def hold(storage, number):
    workflow_id = f"round-{number}"
    make = lambda name: make_commit(f"{workflow_id}/{name}", workflow_id=workflow_id, run_id="stale", lease=lease)
    lease = await storage.acquire_lease(workflow_id, owner="stale")
    for step in range(number % 3):
        await storage.save(make(step))
    signal.raise_signal(signal.SIGSTOP)
    refused = 0
    for step in range(tries):
        for verb in (
            lambda: storage.save(make(f"late-{step}")),
            lambda: storage.write_journal([make_entry(step, workflow_id=workflow_id)], lease=lease),
            lambda: storage.renew_lease(lease),
        ):
            try:
                await verb()
            except LeaseLostError as error:
                assert error.holder == "next"
                refused += 1
    print(refused, flush=True)

async def main():
    with PostgresCheckpointStorage(dsn, schema=schema, lease_ttl=0.05) as storage:
        for number in range(rounds):
            await hold(storage, number)

trio.run(main)
"""


async def overtake(storage, workflow_id):
    """As soon as the lease has run out, in real time: it was granted by another process."""
    refusals = []
    while True:
        try:
            return refusals, await storage.acquire_lease(workflow_id, owner="next")
        except LeaseHeldError as error:
            refusals.append(error)
            await trio.sleep(error.expires_in / 2)


async def test_a_holder_that_was_stopped_beyond_its_lease_never_writes_again(database):
    """P7, R08, F41: six times a process is stopped and overtaken; each of its 180 late writes is refused."""
    rounds, tries = 6, 10
    with start(HOLDER, database, rounds, tries) as holder, open_storage(database, lease_ttl=60) as storage:
        for number in range(rounds):
            await wait_until_stopped(holder)
            workflow_id = f"round-{number}"
            refusals, lease = await overtake(storage, workflow_id)
            assert {error.owner for error in refusals} <= {"stale"}
            await storage.save(make_commit(f"{workflow_id}/next", workflow_id=workflow_id, lease=lease))
            await storage.write_journal([make_entry(99, workflow_id=workflow_id)], lease=lease)
            holder.send_signal(signal.SIGCONT)
            assert int(await trio.to_thread.run_sync(holder.stdout.readline)) == 3 * tries
            assert [info.run_id for info in await storage.list(workflow_id)] == ["run"] + ["stale"] * (number % 3)
            assert await storage.read_journal(workflow_id, None) == [make_entry(99, workflow_id=workflow_id)]
            await storage.renew_lease(lease)
        assert await trio.to_thread.run_sync(holder.wait, 10) == 0


async def wait_until_stopped(process):
    """Its own stop is the only sign that nothing of it runs any more."""
    state = await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state.si_code == os.CLD_STOPPED
    await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WSTOPPED)


INSIDE = """
import signal, sys, trio
from actorflow import PostgresCheckpointStorage
from actorflow.checkpoint.postgres import leases
from actorflow.errors import CheckpointError
from actorflow.testing.storage_conformance import make_commit

async def main():
    with PostgresCheckpointStorage(sys.argv[1], schema=sys.argv[2], lease_ttl=0.01, idle_timeout=0.3) as storage:
        lease = await storage.acquire_lease("workflow", owner="stale")
        check = leases.check_may_write

        def check_and_stop(*args):
            overtakes = check(*args)
            signal.raise_signal(signal.SIGSTOP)
            return overtakes

        leases.check_may_write = check_and_stop
        try:
            await storage.save(make_commit("stale", lease=lease))
        except CheckpointError as error:
            print(type(error.__cause__).__name__, flush=True)
        leases.check_may_write = check
        try:
            await storage.save(make_commit("stale", lease=lease))
        except Exception as error:
            print(type(error).__name__, flush=True)

trio.run(main)
"""


async def test_a_holder_stopped_in_its_transaction_is_thrown_out_by_the_server(database, storage):
    """P7, R08: after `idle_timeout` its locks are gone and whoever waited goes on; awake, it has written nothing."""
    await storage.save(make_commit("other", workflow_id="other"))
    with start(INSIDE, database) as holder:
        await wait_until_stopped(holder)
        began = trio.current_time()
        await storage.save(make_commit("more", workflow_id="other"))  # nobody else is held up
        lease = await storage.acquire_lease("workflow", owner="next")
        assert trio.current_time() - began < 5
        await storage.save(make_commit("next", lease=lease))
        holder.send_signal(signal.SIGCONT)
        assert await trio.to_thread.run_sync(holder.stdout.readline) == b"IdleInTransactionSessionTimeout\n"
        assert await trio.to_thread.run_sync(holder.stdout.readline) == b"LeaseLostError\n"
    assert [info.id for info in await storage.list("workflow")] == ["next"]


async def test_who_would_overtake_a_holder_in_its_transaction_waits_for_it(database, storage):
    """P7: the check and the write are one transaction, so what it writes comes before."""
    stale = await storage.acquire_lease("workflow", owner="stale")
    with open_storage(database, lock_timeout=0.1) as other:
        inside = trio.Event()
        token = trio.lowlevel.current_trio_token()
        refused = []

        def save_slowly(connection):
            header = Insertion(make_commit("stale", lease=stale), None, "here")(connection)
            token.run_sync_soon(inside.set)
            while not refused:
                connection.execute("SELECT pg_sleep(0.01)")
            return header

        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage._write, save_slowly)
            await inside.wait()
            with pytest.raises(CheckpointError, match="lock_timeout"):
                await other.acquire_lease("workflow", owner="stale")
            refused.append(True)
        lease = await other.acquire_lease("workflow", owner="stale")
        await other.save(make_commit("next", "stale", lease=lease))
        assert [info.id for info in await other.list()] == ["next", "stale"]


async def test_an_owner_that_is_parked_and_overtaken_commits_nothing_in_a_thousand_tries(database, storage):
    """P7, R08, F41: whatever it tries, at whatever moment of the other's work, none of it is written."""
    tries, refused = 1000, 0
    with open_storage(database) as other:
        stale = await storage.acquire_lease("workflow", owner="parked")
        await storage.save(make_commit("root", lease=stale))
        database.execute("UPDATE workflow SET expires = 0")  # as if its time to live had passed
        lease = await other.acquire_lease("workflow", owner="next")
        parent = "root"

        async def try_in_vain(number):
            nonlocal refused
            verb = (
                storage.save(make_commit(f"late-{number}", "root", lease=stale)),
                storage.write_journal([make_entry(number, "root")], lease=stale),
                storage.renew_lease(stale),
            )
            for index, each in enumerate(verb):
                if index != number % 3:
                    each.close()
            with pytest.raises(LeaseLostError):
                await verb[number % 3]
            refused += 1

        for number in range(0, tries, 20):
            async with trio.open_nursery() as nursery:
                for each in range(20):
                    nursery.start_soon(try_in_vain, number + each)
                parent = (await other.save(make_commit(f"{number}", parent, lease=lease))).id
        assert refused == tries
        assert not [info.id for info in await other.list() if info.id.startswith("late")]
        assert await other.read_journal("workflow", "root") == []
        await other.renew_lease(lease)


KILLED = """
import sys, trio
from actorflow import PostgresCheckpointStorage
from actorflow.testing.storage_conformance import make_commit

async def main():
    storage = PostgresCheckpointStorage(sys.argv[1], schema=sys.argv[2], lease_ttl=600)
    lease = await storage.acquire_lease("workflow", owner="killed")
    parent = None
    for number in range(100_000):
        parent = (await storage.save(make_commit(f"{number}", parent, lease=lease))).id
        print(parent, flush=True)

trio.run(main)
"""


async def test_a_writer_that_is_killed_loses_nothing_acknowledged_and_its_lease_is_free_at_once(database, storage):
    """R08, R15: on one machine its death can be told; what it was told is written is there, in one unbroken line."""
    for seen in (1, 7, 40):
        with start(KILLED, database) as writer:
            for _ in range(seen):
                last = int(await trio.to_thread.run_sync(writer.stdout.readline))
            writer.kill()
            rest = writer.stdout.read().split(b"\n")[:-1]
        last = int(rest[-1]) if rest else last
        lease = await storage.acquire_lease("workflow", owner="next")
        head = await storage.latest(workflow_id="workflow")
        assert head is not None
        assert int(head.id) in (last, last + 1)
        assert [int(info.id) for info in await storage.lineage(head.id)] == [*range(int(head.id), -1, -1)]
        await storage.release_lease(lease)
        await storage.prune(keep_last=1)
        await storage.delete(head.id)


async def test_the_lease_of_a_process_on_another_machine_runs_out(database, storage):
    """Its death cannot be told from here, so its time to live decides, by the server's clock."""
    with open_storage(database, lease_ttl=0.2) as other:
        await other.acquire_lease("workflow", owner="far away")
        database.execute("UPDATE workflow SET process = 'another boot/pid:[1]/1/1'")
        with trio.fail_after(5):
            refusals, lease = await overtake(storage, "workflow")
    assert {error.owner for error in refusals} == {"far away"}
    await storage.save(make_commit("a", lease=lease))


async def test_leases_go_by_the_clock_of_the_server(database, storage, monkeypatch):
    """F41: a machine whose clock is wrong takes nothing from anybody."""
    with open_storage(database) as other:
        await storage.acquire_lease("workflow", owner="first")
        for hours in (-48, 48):
            monkeypatch.setattr("time.time", lambda hours=hours: 1_700_000_000.0 + hours * 3600)
            with pytest.raises(LeaseHeldError) as held:
                await other.acquire_lease("workflow", owner="second")
            assert 25 < held.value.expires_in <= 30
            assert 0 <= held.value.age < 5


async def test_two_storages_on_one_schema_grant_one_lease(database, storage):
    with open_storage(database) as other:
        first = await storage.acquire_lease("workflow", owner="first")
        with pytest.raises(LeaseHeldError):
            await other.acquire_lease("workflow", owner="second")
        await other.renew_lease(first)
        await other.release_lease(first)
        second = await other.acquire_lease("workflow", owner="second")
        with pytest.raises(LeaseLostError):
            await storage.save(make_commit("a", lease=first))
        await storage.save(make_commit("a", lease=second))


async def test_many_that_race_for_a_lease_through_storages_of_their_own_agree(open_for_test):
    """One row orders them all; each holder writes, and nobody writes in between."""
    storages = [open_for_test() for _ in range(5)]
    held = []

    async def advance(number, storage):
        for turn in range(4):
            while True:
                try:
                    lease = await storage.acquire_lease("workflow", owner=f"{number}-{turn}")
                    break
                except LeaseHeldError:
                    await trio.sleep(0.001)
            held.append(number)
            head = await storage.latest(workflow_id="workflow")
            await storage.save(make_commit(f"{number}-{turn}", None if head is None else head.id, lease=lease))
            assert held.pop() == number
            await storage.release_lease(lease)

    async with trio.open_nursery() as nursery:
        for number, storage in enumerate(storages):
            nursery.start_soon(advance, number, storage)
    line = await storages[0].lineage((await storages[0].latest(workflow_id="workflow")).id)
    assert [info.sequence for info in line] == [*range(20, 0, -1)]


async def test_writers_of_many_workflow_ids_in_any_order_do_not_deadlock(open_for_test):
    """Batches of several storages lock the same rows in different orders; all of it is written."""
    storages = [open_for_test() for _ in range(3)]
    names = [f"{number}" for number in range(6)]

    async def write(storage, mark, order):
        async with trio.open_nursery() as nursery:
            for name in order:
                nursery.start_soon(storage.save, make_commit(f"{mark}/{name}", workflow_id=name))
            nursery.start_soon(storage.write_journal, [make_entry(mark, workflow_id=name) for name in order])

    async with trio.open_nursery() as nursery:
        for turn in range(8):
            for number, storage in enumerate(storages):
                order = names[number:] + names[:number]
                nursery.start_soon(write, storage, 10 * turn + number, order[:: -1 if turn % 2 else 1])
    assert len(await storages[0].list()) == 8 * 3 * 6
    for name in names:
        assert [info.sequence for info in await storages[0].list(name)] == [*range(24, 0, -1)]


async def test_epochs_grow_over_closing_and_over_everything_that_is_dropped(database):
    epochs = []
    for _ in range(3):
        with open_storage(database) as storage:
            lease = await storage.acquire_lease("workflow", owner="owner")
            await storage.release_lease(lease)
            epochs.append(lease.epoch)
    assert epochs == sorted(set(epochs))


# What it costs


async def test_nothing_is_left_of_what_is_over(database, storage):
    """R20, R25: of leases that were released, of workflow ids that have gone, of writers that were refused."""
    for number in range(8):
        workflow_id = f"workflow-{number}"
        lease = await storage.acquire_lease(workflow_id, owner="owner")
        await storage.save(make_commit("a", workflow_id=workflow_id, lease=lease))
        await storage.write_journal([make_entry(0, "a", workflow_id=workflow_id)], lease=lease)
        if number % 2:
            await storage.release_lease(lease)
            await storage.delete("a")
        else:
            await storage.delete("a")
            await storage.release_lease(lease)
        with pytest.raises(CheckpointError):
            await storage.save(make_commit("b", "nowhere", workflow_id=f"refused-{number}"))
        with pytest.raises(LeaseLostError):
            await storage.save(
                make_commit(
                    "b", workflow_id=f"refused-{number}", lease=attrs.evolve(lease, workflow_id=f"refused-{number}")
                )
            )
    for table in ("workflow", "journal", "checkpoint", "run"):
        assert database.execute(f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_a_save_takes_four_round_trips_and_one_row(database, storage):
    """P10: a look that locks, and a write, between a begin and a commit; however much there is."""
    lease = await storage.acquire_lease("workflow", owner="owner")
    await storage.save(make_commit("a", lease=lease))
    connection = storage._batches._idle[0]
    statements = []
    execute = connection.execute

    def note(query, *args, **kwargs):
        statements.append(query.split()[0])
        return execute(query, *args, **kwargs)

    connection.execute = note
    await storage.save(make_commit("b", "a", lease=lease))
    assert statements == ["BEGIN", "SELECT", "WITH", "COMMIT"]
    statements.clear()
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(storage.save, make_commit(f"{number}", "b", lease=lease))
    assert statements.count("BEGIN") == statements.count("COMMIT") == 2
    assert len(statements) == 4 + 2 * 10
    assert database.execute("SELECT count(*) FROM checkpoint") == [(12,)]


async def test_saves_of_different_workflow_ids_are_looked_up_at_once_and_inserted_as_one(database, storage):
    """P10: two answers of the server between a begin and a commit, however many wait."""
    heads = {}
    for number in range(20):
        heads[number] = (await storage.save(make_commit(f"{number}", workflow_id=f"w{number}"))).id
    connection = storage._batches._idle[0]
    statements, execute = [], connection.execute

    def note(query, *args, **kwargs):
        statements.append((query.split()[0], connection.info.transaction_status, connection._pipeline is not None))
        return execute(query, *args, **kwargs)

    connection.execute = note
    async with trio.open_nursery() as nursery:
        for number, head in heads.items():
            nursery.start_soon(storage.save, make_commit(f"next-{number}", head, workflow_id=f"w{number}"))
    begun = [place for place, (word, *_) in enumerate(statements) if word == "BEGIN"]
    assert len(begun) == 2  # whoever came first did not wait for the others
    together = statements[begun[1] :]
    assert [word for word, *_ in together] == ["BEGIN", *["SELECT"] * 19, "WITH", "COMMIT"]
    assert [piped for _, _, piped in together] == [False, *[True] * 19, False, False]
    report = await storage.fsck()
    assert report.ok, report
    assert [info.sequence for number in range(20) for info in await storage.list(f"w{number}")] == [2, 1] * 20


async def test_what_is_large_is_not_gathered_into_one_message(database, storage, monkeypatch):
    """A message takes up to 1 GiB, and a session that stands still while one is made is ended: each alone would pass."""
    monkeypatch.setattr("actorflow.checkpoint.postgres.insertion._AT_ONCE", 1000)
    await storage.save(make_commit("first", workflow_id="w"))
    connection = storage._batches._idle[0]
    sizes, execute = [], connection.execute

    def note(query, values=None, **kwargs):
        if query.split()[0] == "WITH":
            payloads = values["payload"]
            sizes.append([len(each) for each in (payloads if isinstance(payloads, list) else [payloads])])
        return execute(query, values, **kwargs)

    connection.execute = note
    commits = [
        attrs.evolve(make_commit(f"{number}", workflow_id=f"w{number}"), payload=b"x" * 400) for number in range(9)
    ]
    async with trio.open_nursery() as nursery:
        for commit in commits:
            nursery.start_soon(storage.save, commit)
    assert sizes == [[400], [400] * 3, [400] * 3, [400] * 2]
    assert {info.id for info in await storage.list()} == {"first", *map(str, range(9))}


async def test_what_is_deleted_while_it_is_saved_again_is_written_again(database, storage):
    """To do the same again is safe: it is there, or it is written."""
    await storage.save(make_commit("a"))
    first = await storage.save(make_commit("b", "a"))
    saved = []

    async def save_again():
        saved.append(await storage.save(make_commit("b", "a")))

    with database.session() as session:
        session.execute("BEGIN")
        session.execute("SELECT FROM workflow WHERE id = 'workflow' FOR UPDATE")
        session.execute("DELETE FROM checkpoint WHERE id = 'b'")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(save_again)
            await until(lambda: database.waiting(0.1))
            session.execute("COMMIT")
    assert [(info.id, info.sequence) for info in saved] == [("b", first.sequence)]
    assert [info.id for info in await storage.list()] == ["b", "a"]


async def test_of_saves_that_are_written_together_each_is_judged_by_itself(storage):
    """R24, P7: a lease that was lost, a parent that is not there, an id that is taken: each refuses its own save alone."""
    lost = await storage.acquire_lease("overtaken", owner="stale")
    await storage.release_lease(lost)
    held = await storage.acquire_lease("overtaken", owner="next")
    first = make_commit("there", workflow_id="there")
    await storage.save(first)
    await storage.write_journal([make_entry(0, "there", workflow_id="there")])
    saves = {
        "good": make_commit("good", workflow_id="good"),
        "branch": make_commit("branch", "there", workflow_id="branch", full=True),
        "again": first,
        "next": make_commit("next", "there", workflow_id="there"),
        "stale": make_commit("stale", workflow_id="overtaken", lease=lost),
        "orphan": make_commit("orphan", "nowhere", workflow_id="orphan"),
        "taken": make_commit("there", workflow_id="elsewhere"),
        "last": make_commit("last", workflow_id="overtaken", lease=held),
    }
    ends = {}

    async def save(name, commit):
        try:
            ends[name] = (await storage.save(commit)).sequence
        except (CheckpointError, LeaseLostError) as error:
            ends[name] = type(error)

    for _ in range(3):  # the second and third time all that is there is found
        async with trio.open_nursery() as nursery:
            for name, commit in saves.items():
                nursery.start_soon(save, name, commit)
        assert ends == {
            "good": 1,
            "branch": 1,
            "again": 1,
            "next": 2,
            "stale": LeaseLostError,
            "orphan": CheckpointNotFoundError,
            "taken": CheckpointError,
            "last": 1,
        }
    assert await storage.read_journal("there", "there") == []
    report = await storage.fsck()
    assert report.ok, report
    assert report.checkpoints == 5


async def test_no_statement_of_a_verb_looks_through_a_table_that_grows(database, storage):
    """P10, F37: with sequential scans made dear, the planner finds a way through an index for each."""
    await storage.save(make_commit("a"))
    await storage.list()
    plans = []

    def explain(connection):
        execute = connection.execute
        execute("SET enable_seqscan = off")

        def explain_and_execute(query, params=None, **kwargs):
            if params is not None:
                plan = [row[0] for row in execute(f"EXPLAIN {query}", params)]
                plans.append((query, [step for step in plan if "Seq Scan on" in step]))
            return execute(query, params, **kwargs)

        connection.execute = explain_and_execute

    for sessions in (storage._batches, storage._others):
        explain(sessions._idle[0])
    lease = await storage.acquire_lease("workflow", owner="owner")
    await storage.write_journal([make_entry(0, "a")], lease=lease)
    await storage.save(make_commit("b", "a", lease=lease))
    await storage.renew_lease(lease)
    for read in (
        storage.load("b"), storage.latest(workflow_id="workflow"), storage.list("workflow", "conformance", 1, "b"),
        storage.list(None, "conformance", 1), storage.lineage("b"), storage.children("a"),
        storage.read_journal("workflow", "a"),
    ):  # fmt: skip
        await read
    await storage.delete("b")
    await storage.release_lease(lease)
    assert len(plans) > 20
    for query, scans in plans:
        # The journal holds no more than the supersteps under way.
        assert [scan for scan in scans if "on journal" not in scan] == [], query

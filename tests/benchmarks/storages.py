"""What a storage costs against the least that it could: bare SQLite, bare psycopg, in one run, taking turns.

    python tests/benchmarks/storages.py                 all parts
    python tests/benchmarks/storages.py superstep group some of them
    python tests/benchmarks/storages.py --rounds 9 group

Figures are medians of rounds; a ratio is the median of the rounds' ratios. They are wall time, because a sync is waiting,
with CPU time beside it where a part says so. The load of the machine is printed before each part: read it.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import apsw
import limits
import trio
import workloads
from run import Span

from actorflow import LATEST, CheckpointID, CheckpointInfo, PostgresCheckpointStorage, SqliteCheckpointStorage
from actorflow.checkpoint.deltas import pack_delta
from actorflow.checkpoint.records import CheckpointKind, Commit, Delta

SUPERSTEPS = 200
ROWS = 2_000
DEEP = (1_000, 10_000, 50_000)
HEADERS = 100_000
PAGE = 100


class SyncCounter(apsw.VFS):
    """The file system as SQLite sees it, counting syncs. It slows every read and write down: time nothing under it."""

    def __init__(self):
        self.syncs, self.below = 0, apsw.vfs_names()[0]
        super().__init__("counting", "", makedefault=True)

    def xOpen(self, name, flags):
        return _CountedFile(self, name, flags)


class _CountedFile(apsw.VFSFile):
    def __init__(self, counter, name, flags):
        self.counter = counter
        super().__init__(counter.below, name, flags)

    def xSync(self, flags):
        self.counter.syncs += 1
        super().xSync(flags)


def superstep(folder, rounds):
    """A superstep that changes 1 KB beside 100 KB that stay, against one bare commit of the payload it wrote."""
    path = folder / "superstep.db"
    storage = SqliteCheckpointStorage(path)
    workflow = workloads.loop(SUPERSTEPS, storage=storage, small=1_000, big=workloads.rows(100_000))
    trio.run(workflow.run, -1)
    taken = []
    for _ in range(rounds + 1):
        gc.collect()
        with Span() as ours:
            trio.run(workflow.run, 0)
        with apsw.Connection(str(path)) as connection:
            latest = "SELECT payload FROM checkpoint ORDER BY position DESC LIMIT ?"
            payloads = [payload for (payload,) in connection.execute(latest, (SUPERSTEPS + 1,))]
        with Span() as bare:
            trio.run(limits.commit, folder / "superstep-bare.db", payloads)
        with Span() as inline:
            limits.commit_in_place(folder / "superstep-in-place.db", payloads)
        taken.append((ours, bare, inline))
    storage.close()
    print(f"  payload of a superstep: median {statistics.median(map(len, payloads)):,.0f} bytes")
    for clock in ("wall", "cpu"):
        ours, bare, inline = ([getattr(each, clock) for each in side] for side in zip(*taken[1:], strict=True))
        per = 1e6 / (SUPERSTEPS + 1)
        print(
            f"  {clock:4}: {_middle(ours) * per:7,.0f} us; bare from trio {_middle(bare) * per:7,.0f} us, ratio "
            f"{_ratio(ours, bare)}; bare in place {_middle(inline) * per:7,.0f} us, ratio {_ratio(ours, inline)}"
        )


def group(folder, rounds):
    """Rows a second of concurrent runs, and of concurrent saves alone, against a bare writer that groups as well."""
    for runs in (1, 10, 100, 1_000):
        supersteps = max(2, ROWS // runs - 1)
        rows, counts, taken = runs * (supersteps + 1), [], []
        for number in range(rounds + 1):
            path = folder / f"group{runs}-{number}"
            gc.collect()
            ours, transactions, payloads = trio.run(_runs, path.with_suffix(".db"), runs, supersteps)
            saves, save_transactions = trio.run(_saves, path.with_suffix(".saves"), runs, payloads)
            with Span() as bare:
                bare_transactions = trio.run(limits.commit_in_groups, path.with_suffix(".bare"), runs, payloads)
            taken.append((ours, saves, bare))
            counts.append((transactions, save_transactions, bare_transactions))
        ours, saves, bare = ([rows / each.wall for each in side] for side in zip(*taken[1:], strict=True))
        transactions = [statistics.median(each) for each in zip(*counts[1:], strict=True)]
        print(
            f"  {runs:5,} runs of {supersteps:,}, {rows:,} rows: {_middle(ours):7,.0f} rows/s in {transactions[0]:,.0f} transactions, "
            f"ratio {_ratio(ours, bare)}; saves alone {_middle(saves):7,.0f} in {transactions[1]:,.0f}, ratio "
            f"{_ratio(saves, bare)}; bare {_middle(bare):7,.0f} in {transactions[2]:,.0f}",
            flush=True,
        )


def syncs(folder, _rounds):
    """Syncs of the same, counted by a VFS shim; nothing is timed."""
    counter = SyncCounter()
    try:
        for runs in (1, 10, 100, 1_000):
            supersteps = max(2, ROWS // runs - 1)
            rows, counter.syncs = runs * (supersteps + 1), 0
            path = folder / f"syncs{runs}"
            _, transactions, payloads = trio.run(_runs, path.with_suffix(".db"), runs, supersteps)
            ours, counter.syncs = counter.syncs, 0
            bare_transactions = trio.run(limits.commit_in_groups, path.with_suffix(".bare"), runs, payloads)
            print(
                f"  {runs:5,} runs, {rows:,} rows: {ours:,} syncs of {transactions:,} transactions; "
                f"bare {counter.syncs:,} of {bare_transactions:,}"
            )
    finally:
        counter.unregister()


async def _runs(path, runs, supersteps):
    """Run them at once; returns the span, the transactions of it, and the payloads that were written."""
    with SqliteCheckpointStorage(path) as storage:
        workflows = workloads.loops(runs, supersteps, storage)
        await storage.list(limit=1)
        transactions = _count_transactions(storage)
        with Span() as span:
            async with trio.open_nursery() as nursery:
                for workflow in workflows:
                    nursery.start_soon(workflow.run, 0)
    with apsw.Connection(str(path)) as connection:
        payloads = [payload for (payload,) in connection.execute("SELECT payload FROM checkpoint ORDER BY position")]
    return span, len(transactions), payloads


def _count_transactions(storage):
    # Every batch is one transaction unless a piece of work in it fails in SQLite itself, which none here does.
    transactions, perform = [], storage._commits._perform
    storage._commits._perform = lambda batch: (transactions.append(len(batch)), perform(batch))[1]
    return transactions


async def _saves(path, writers, payloads):
    """The same payloads through `save` alone: without supersteps, leases and events."""
    each = len(payloads) // writers
    with SqliteCheckpointStorage(path) as storage:
        await storage.list(limit=1)
        transactions = _count_transactions(storage)

        async def write(number):
            parent = None
            for place, payload in enumerate(payloads[number * each : (number + 1) * each]):
                parent = (await storage.save(commit(f"w{number}", place, parent, payload))).id

        with Span() as span:
            async with trio.open_nursery() as nursery:
                for number in range(writers):
                    nursery.start_soon(write, number)
    return span, len(transactions)


def commit(workflow_id, place, parent, payload, full=None):
    """One checkpoint to be saved."""
    info = CheckpointInfo(
        id=CheckpointID(f"{workflow_id}-{place}"),
        parent_id=parent,
        workflow_name="saves",
        workflow_id=workflow_id,
        run_id=f"run-{workflow_id}",
        superstep=place,
        kind=CheckpointKind.SUPERSTEP if place else CheckpointKind.ENTRY,
        graph_signature="0" * 64,
        created_at=datetime.now(UTC),
    )
    return Commit(info=info, payload=payload, full=not place if full is None else full)


def head(folder, _rounds):
    """Loading the head of a long history: `latest`, 100 KB of state, 1 KB changed by each superstep."""
    trio.run(_head, folder / "head.db")


async def _head(path):
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        done = 0
        for depth in DEEP:
            workflow = workloads.loop(depth - done, storage=storage, small=1_000, big=workloads.rows(100_000))
            if done:
                await workflow.run(checkpoint_id=LATEST)  # nothing is left to do: it stands there
            else:
                await workflow.run(-1)
            await workflow.run(0)
            done = depth
            latest = [await _timed(storage.latest, workflow_id="loop") for _ in range(50)]
            near = await storage.list("loop", limit=300)
            others = [await _timed(storage.load, info.id) for info in near]
            with SqliteCheckpointStorage(path) as fresh:
                opened = await _timed(fresh.latest, workflow_id="loop")
            print(
                f"  after {depth:6,} supersteps ({near[0].sequence:,} checkpoints): latest {_spread(latest)}; opened anew "
                f"{opened * 1000:.1f} ms; each of the last 300 {_spread(others)}",
                flush=True,
            )


def pages(folder, _rounds):
    """Listing the headers of 100,000 checkpoints of one workflow id, page by page."""
    trio.run(_pages, folder / "pages.db")


async def _pages(path):
    payload = pack_delta(Delta(changed={"state/small": b"z" * 100}, full=True))
    with SqliteCheckpointStorage(path, synchronous="normal") as storage:
        order = iter(range(HEADERS))

        async def write():
            for place in order:
                await storage.save(commit("w", place, None, payload, full=True))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(write)
        for filters in ({"workflow_id": "w"}, {"workflow_name": "saves"}, {}):
            times, seen, before = [], 0, None
            while True:
                began = time.perf_counter()
                page = await storage.list(**filters, limit=PAGE, before=before)
                times.append(time.perf_counter() - began)
                if not page:
                    break
                seen, before = seen + len(page), page[-1].id
            assert seen == HEADERS
            print(
                f"  by {next(iter(filters), 'nothing'):13}: {len(times):,} pages of {PAGE}: {_spread(times)}",
                flush=True,
            )


def postgres(_folder, rounds):
    """One save on a PostgreSQL server that syncs, against one bare insert of the payload through psycopg."""
    from tests import postgres as server  # needs the extra, and the repository on the path

    with server.running_server() as dsn, server.fresh_database(dsn) as database:
        database.execute("ALTER SYSTEM RESET fsync")
        database.execute("SELECT pg_reload_conf()")
        with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage:
            trio.run(_postgres, storage, database, rounds)


async def _postgres(storage, database, rounds):
    import psycopg
    from psycopg import sql

    await storage.list(limit=1)  # makes the schema
    payload = os.urandom(1_000)
    connection = psycopg.connect(database.server, autocommit=True, prepare_threshold=1)
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(database.schema)))
    connection.execute("CREATE TABLE bare (position bigserial PRIMARY KEY, payload bytea)")
    print(f"  fsync is {connection.execute('SHOW fsync').fetchone()[0]}, "
          f"synchronous_commit {connection.execute('SHOW synchronous_commit').fetchone()[0]}")  # fmt: skip

    def insert():
        connection.execute("INSERT INTO bare (payload) VALUES (%s)", (payload,))

    ours, bare, parent = [], [], None
    for place in range(rounds * 100 + 20):
        one = commit("w", place, parent, payload)
        ours.append(await _timed(storage.save, one))
        parent = one.info.id
        bare.append(await _timed(trio.to_thread.run_sync, insert))
    connection.close()
    ours, bare = ours[20:], bare[20:]
    print(f"  save {_spread(ours)}; bare {_spread(bare)}; ratio of medians {_middle(ours) / _middle(bare):.2f}")


def postgres_group(_folder, rounds):
    """Rows a second of concurrent saves on that server, against a bare writer that groups as well, an insert for each row."""
    import psycopg
    from psycopg import sql

    from tests import postgres as server

    with server.running_server() as dsn, server.fresh_database(dsn) as database:
        database.execute("ALTER SYSTEM RESET fsync")
        database.execute("SELECT pg_reload_conf()")
        with (
            PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage,
            psycopg.connect(database.server, autocommit=True) as connection,
        ):
            trio.run(storage.list)
            connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(database.schema)))
            connection.execute("CREATE TABLE bare (position bigserial PRIMARY KEY, payload bytea)")
            for writers in (10, 100, 500):
                _postgres_group(storage, connection, writers, rounds)


def _postgres_group(storage, connection, writers, rounds):
    def insert(payloads):
        with connection.transaction():
            for payload in payloads:
                connection.execute("INSERT INTO bare (payload) VALUES (%s)", (payload,))

    taken = []
    for number in range(rounds):
        payloads = [os.urandom(1_000) for _ in range(ROWS)]
        with Span() as ours:
            trio.run(_save_all, storage, writers, payloads, f"{writers}-{number}")
        with Span() as bare:
            trio.run(limits.write_in_groups, insert, writers, payloads)
        taken.append((ROWS / ours.wall, ROWS / bare.wall))
    ours, bare = zip(*taken, strict=True)
    print(
        f"  {writers:5,} writers, {ROWS:,} rows: saves {_middle(ours):7,.0f} rows/s; bare {_middle(bare):7,.0f}, ratio "
        f"{_ratio(ours, bare)}",
        flush=True,
    )


async def _save_all(storage, writers, payloads, name):
    each = len(payloads) // writers

    async def write(number):
        parent = None
        for place, payload in enumerate(payloads[number * each : (number + 1) * each]):
            parent = (await storage.save(commit(f"{name}-{number}", place, parent, payload))).id

    async with trio.open_nursery() as nursery:
        for number in range(writers):
            nursery.start_soon(write, number)


async def _timed(work, *args, **options):
    began = time.perf_counter()
    await work(*args, **options)
    return time.perf_counter() - began


def _middle(values):
    return statistics.median(values)


def _ratio(ours, bare):
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return f"{_middle(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _spread(times):
    found = sorted(each * 1000 for each in times)
    high = found[min(len(found) - 1, math.floor(len(found) * 0.99))]
    return f"p50 {_middle(found):.2f}, p99 {high:.2f}, most {found[-1]:.2f} ms"


PARTS = {each.__name__: each for each in (superstep, group, syncs, head, pages, postgres, postgres_group)}


def main():
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for name, part in PARTS.items():
        if given.parts and name not in given.parts:
            continue
        print(f"{name} (load {os.getloadavg()[0]:.1f}): {part.__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder), given.rounds)
        print(f"  load afterwards {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()

"""What the same work costs without a workflow engine: bare trio, bare SQLite. The figures of `run.py` are ratios to these.

`Bare` is the physics of supersteps: a task and a memory channel for each actor, one wake-up for each message, a counter and
an Event as the barrier. It routes nothing, keeps nothing, survives nothing.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import apsw
import trio


class Bare:
    """Actors by name, each an async function ``(message, send)``, driven in supersteps until nothing was sent."""

    def __init__(self, handlers):
        self.handlers = handlers
        self.sent = []

    def send(self, target, message):
        self.sent.append((target, message))

    async def actor(self, inbox, handle):
        async for message in inbox:
            await handle(message, self.send)
            self.busy -= 1
            if self.busy == 0:
                self.all_done.set()

    async def run(self, start, message):
        async with trio.open_nursery() as nursery:
            inboxes = {}
            for name, handle in self.handlers.items():
                inboxes[name], inbox = trio.open_memory_channel(math.inf)
                nursery.start_soon(self.actor, inbox, handle)
            self.send(start, message)
            while self.sent:
                deliveries, self.sent = self.sent, []
                self.busy, self.all_done = len(deliveries), trio.Event()
                for target, each in deliveries:
                    inboxes[target].send_nowait(each)
                await self.all_done.wait()
            nursery.cancel_scope.cancel()


def chain(length):
    """`length` + 1 actors in a row."""

    def step(place):
        async def handle(x, send):
            if place < length:
                send(place + 1, x + 1)

        return handle

    return Bare({place: step(place) for place in range(length + 1)})


def loop(supersteps):
    """Two actors that hand a number to and fro."""

    def player(other):
        async def handle(x, send):
            if x < supersteps - 1:
                send(other, x + 1)

        return handle

    return Bare({"ping": player("pong"), "pong": player("ping")})


def fan(width, pause=None):
    """One actor sends to `width`, each of which answers to a last one."""

    async def start(x, send):
        for place in range(width):
            send(place, x)

    async def work(x, send):
        if pause is not None:
            await trio.sleep(pause)
        send("join", x)

    async def join(_x, _send):
        pass

    return Bare({"start": start, **dict.fromkeys(range(width), work), "join": join})


async def stream(count):
    """`count` values through a memory channel of 64."""
    sender, receiver = trio.open_memory_channel(64)

    async def produce():
        with sender:
            for number in range(count):
                await sender.send(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        async for _ in receiver:
            pass


async def pool(count, workers, limit=None):
    """`count` messages in one memory channel, handled by `workers` tasks that yield to each other once a message.

    With a limit each message has a cancel scope, as anybody would write it who limits how long one may take.
    """
    sender, receiver = trio.open_memory_channel(math.inf)
    results = [None] * count

    async def work():
        async for number in receiver:
            await trio.lowlevel.checkpoint()
            results[number] = number

    async def work_in_time():
        async for number in receiver:
            with trio.move_on_after(limit):
                await trio.lowlevel.checkpoint()
                results[number] = number

    with sender:
        for number in range(count):
            sender.send_nowait(number)
    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work if limit is None else work_in_time)


def sleepers(count, asleep):
    """One actor that wakes `count` which never end; sets `asleep` when all of them sleep."""
    left = count

    async def start(_x, send):
        for place in range(count):
            send(place, 0)

    async def sleep(_x, _send):
        nonlocal left
        left -= 1
        if left == 0:
            asleep.set()
        await trio.sleep_forever()

    return Bare({"start": start, **dict.fromkeys(range(count), sleep)})


async def commit(path: Path, payloads):
    """Commit payloads to an SQLite file, one transaction and one sync each, from a worker thread."""
    connection = _opened(path)
    for payload in payloads:
        await trio.to_thread.run_sync(_write, connection, [payload])
    connection.close()


def commit_in_place(path: Path, payloads):
    """The same without trio and without a thread."""
    connection = _opened(path)
    for payload in payloads:
        _write(connection, [payload])
    connection.close()


async def commit_in_groups(path: Path, writers, payloads):
    """Commit payloads for `writers` tasks, each of which waits for its last before its next; returns the transactions.

    One more task takes what is there, commits it in a worker thread, and wakes those whose payloads they were.
    """
    connection = _opened(path)
    transactions = await write_in_groups(partial(_write, connection), writers, payloads)
    connection.close()
    return transactions


async def write_in_groups(write_batch, writers, payloads):
    """The same, with whatever writes a batch in one transaction."""
    queue, transactions = [], 0
    filled = trio.Event()

    async def write(own):
        for payload in own:
            done = trio.Event()
            queue.append((payload, done))
            filled.set()
            await done.wait()

    async def commit_all():
        nonlocal filled, transactions
        left = len(payloads)
        while left:
            await filled.wait()
            filled = trio.Event()
            batch = queue[:]
            queue.clear()
            await trio.to_thread.run_sync(write_batch, [payload for payload, _ in batch])
            transactions += 1
            left -= len(batch)
            for _, done in batch:
                done.set()

    async with trio.open_nursery() as nursery:
        for number in range(writers):
            nursery.start_soon(write, payloads[number::writers])
        nursery.start_soon(commit_all)
    return transactions


def _opened(path: Path):
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE IF NOT EXISTS bare (position INTEGER PRIMARY KEY, payload BLOB)")
    return connection


def _write(connection, payloads):
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO bare (payload) VALUES (?)", [(payload,) for payload in payloads])
    connection.execute("COMMIT")

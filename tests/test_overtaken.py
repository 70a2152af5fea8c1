"""P7, R08, F41: a holder that wakes after its lease was taken over commits nothing, in a thousand tries.

Real processes that are stopped and go on are in test_sqlite_leases.py; here the late writer is a holder of a stale lease.
"""

import pytest
import trio

from actorflow import InMemoryCheckpointStorage, SqliteCheckpointStorage
from actorflow.errors import LeaseLostError
from actorflow.testing.storage_conformance import make_commit, make_entry

TRIES = 1000


@pytest.fixture(params=["memory", "sqlite"])
def storage(request, tmp_path):
    if request.param == "memory":
        yield InMemoryCheckpointStorage(lease_ttl=30)
        return
    with SqliteCheckpointStorage(tmp_path / "x.db", synchronous="normal", lease_ttl=30) as opened:
        yield opened


async def test_an_overtaken_holder_writes_nothing_in_a_thousand_tries(storage, autojump_clock):
    stale = await storage.acquire_lease("workflow", owner="parked")
    await storage.save(make_commit("first", lease=stale))
    await trio.sleep(31)
    lease = await storage.acquire_lease("workflow", owner="next")
    await storage.save(make_commit("second", "first", lease=lease))
    await storage.write_journal([make_entry(0, "second")], lease=lease)
    refused = 0

    async def tries(number):
        nonlocal refused
        for verb, *given in (
            (storage.save, make_commit(f"late-{number}", "second", lease=stale)),
            (storage.save, make_commit(f"late-root-{number}", lease=stale)),
            (storage.renew_lease, stale),
        ):
            with pytest.raises(LeaseLostError):
                await verb(*given)
            refused += 1
        with pytest.raises(LeaseLostError):
            await storage.write_journal([make_entry(number + 1, "second")], lease=stale)
        refused += 1

    async with trio.open_nursery() as nursery:
        for batch in range(20):
            nursery.start_soon(_each, tries, range(batch, TRIES, 20))

    assert refused == 4 * TRIES
    assert [info.id for info in await storage.list()] == ["second", "first"]
    assert await storage.read_journal("workflow", "second") == [make_entry(0, "second")]
    await storage.renew_lease(lease)


async def _each(tries, numbers):
    for number in numbers:
        await tries(number)

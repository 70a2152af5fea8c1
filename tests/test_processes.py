"""Telling a dead process from one that lives, so that its lease is free at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from actorflow import SqliteCheckpointStorage
from actorflow.checkpoint.processes import has_died, this_process
from actorflow.errors import LeaseHeldError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="known on Linux only")

_NAME_AND_WAIT = """
import sys
from actorflow.checkpoint.processes import this_process
print(this_process(), flush=True)
sys.stdin.read()
"""

_HOLD = """
import sys, trio
from actorflow import SqliteCheckpointStorage
async def main():
    await SqliteCheckpointStorage(sys.argv[1]).acquire_lease("W", owner="child")
    print("held", flush=True)
    await trio.sleep_forever()
trio.run(main)
"""


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    )


def test_this_process_lives():
    assert this_process()
    assert not has_died(this_process())


def test_a_killed_process_has_died_even_before_anybody_waits_for_it():
    with start(_NAME_AND_WAIT) as child:
        name = child.stdout.readline().strip()
        assert not has_died(name)

        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert has_died(name)
    assert has_died(name)


def test_an_id_that_was_given_to_another_process_does_not_keep_the_dead_one_alive():
    boot, namespace, pid, started = this_process().split("/")

    assert has_died("/".join([boot, namespace, pid, str(int(started) + 1)]))


@pytest.mark.parametrize("name", ["", "nonsense", "a/b/c/d", "x/y/1/2/3"])
def test_what_cannot_be_told_is_not_dead(name):
    assert not has_died(name)


def test_another_boot_or_namespace_is_not_dead():
    boot, namespace, _, started = this_process().split("/")

    assert not has_died(f"other/{namespace}/999999999/{started}")
    assert not has_died(f"{boot}/pid:[1]/999999999/{started}")


def test_after_kill_9_the_workflow_id_is_free_at_once(tmp_path):
    path = str(tmp_path / "x.db")

    async def acquire():
        return await SqliteCheckpointStorage(path).acquire_lease("W", owner="parent")

    with start(_HOLD, path) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LeaseHeldError):
            trio.run(acquire)
        child.kill()
        child.wait()

        assert trio.run(acquire).owner == "parent"

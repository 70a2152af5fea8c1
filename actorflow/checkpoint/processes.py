"""Telling whether the process that held a lease is dead, where that can be known for sure.

On Linux a process is named by the boot of the machine, its namespace of process ids, its id and the tick it started at; none
of these can come again together. Anywhere else nothing is known, and a lease runs out by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["has_died", "this_process"]

_PROC = Path("/proc")
_ZOMBIE_STATES = ("Z", "X")


def this_process() -> str:
    """The name of this process; empty where it has none."""
    try:
        boot, namespace = _surroundings()
        return f"{boot}/{namespace}/{os.getpid()}/{_stat(os.getpid())[1]}"
    except (OSError, ValueError, IndexError):  # not Linux, or a /proc that hides it
        return ""


def has_died(process: str) -> bool:
    """Whether a named process is known to be dead. False whenever that is not certain: another host, another namespace."""
    try:
        boot, namespace, pid, started = process.split("/")
        if (boot, namespace) != _surroundings():
            return False
    except (OSError, ValueError):
        return False
    try:
        state, start = _stat(int(pid))
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False
    return start != started or state in _ZOMBIE_STATES


def _surroundings() -> tuple[str, str]:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return boot, str((_PROC / "self/ns/pid").readlink())


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start tick; the name before them is in brackets and may hold anything."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]

"""The time of day that leases and timers go by: one that processes on a host share, and that a test can move.

For a lease it is read in the event loop and handed to the storage's transaction, so that a lease is as testable as any timeout: under
``trio.testing.MockClock`` it is the virtual clock's time, and stands still with it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs
import trio

__all__ = ["EPOCH", "MICROSECOND", "SteadyClock", "microseconds", "runs_on_virtual_time", "wall_time"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_VIRTUAL_START = 946_684_800.0  # 2000-01-01 UTC; anything that is the same in every run


def wall_time() -> float:
    """Seconds since 1970-01-01 UTC; under a MockClock, that clock's time since 2000-01-01 UTC."""
    if runs_on_virtual_time():
        return _VIRTUAL_START + trio.current_time()
    return time.time()


@attrs.define(eq=False)
class SteadyClock:
    """The time of day as it was when this was made, moved on by trio's clock: a system clock that is set does not move it.

    A run has one, and counts and awaits due times by it. So within a run a clock that is set neither makes a timer fire
    early nor keeps it waiting; the next run goes by the time of day again.

    Attributes:
        steady: Reads trio's clock.
    """

    _ahead: float = attrs.field(
        factory=lambda: _VIRTUAL_START if runs_on_virtual_time() else time.time() - trio.current_time()
    )

    steady: Callable[[], float] = attrs.field(factory=lambda: trio.lowlevel.current_clock().current_time)

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self._ahead + self.steady()

    def on_trio(self, moment: float | None) -> float:
        """A time of day as a deadline of trio's; infinite for None."""
        return math.inf if moment is None else moment - self._ahead


def runs_on_virtual_time() -> bool:
    """Whether this run of trio goes by a MockClock."""
    # Importing trio.testing costs 0.1 s and more; where nobody has imported it, no clock can be a MockClock.
    testing = sys.modules.get("trio.testing")
    return testing is not None and isinstance(trio.lowlevel.current_clock(), testing.MockClock)


def microseconds(moment: datetime) -> int:
    """A time of day in microseconds since 1970-01-01 UTC."""
    return (moment - EPOCH) // MICROSECOND

"""The test kit: seeded schedules, sweeps of cancellations and crashes, chaos, the census, conformance tests of storages."""

from actorflow.testing.census import Census, LimiterToken, census, empty_house
from actorflow.testing.chaos import ChaosStorage, survive_chaos
from actorflow.testing.crash import crash_everywhere
from actorflow.testing.crash_media import CrashableMemory, CrashableStorage
from actorflow.testing.crash_report import CrashError, CrashReport, CrashRow
from actorflow.testing.crash_sqlite import CrashableSqlite
from actorflow.testing.rehydrate import rehydrate_everywhere
from actorflow.testing.rehydrating import Rehydration, rehydrating
from actorflow.testing.schedules import run_seeded, scheduling_seeds
from actorflow.testing.storage_conformance import StorageConformance
from actorflow.testing.sweep import Leak, LeakError, SweepReport, cancel_everywhere

__all__ = [
    "Census",
    "ChaosStorage",
    "CrashError",
    "CrashReport",
    "CrashRow",
    "CrashableMemory",
    "CrashableSqlite",
    "CrashableStorage",
    "Leak",
    "LeakError",
    "LimiterToken",
    "Rehydration",
    "StorageConformance",
    "SweepReport",
    "cancel_everywhere",
    "census",
    "crash_everywhere",
    "empty_house",
    "rehydrate_everywhere",
    "rehydrating",
    "run_seeded",
    "scheduling_seeds",
    "survive_chaos",
]

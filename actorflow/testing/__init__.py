"""The test kit: seeded schedules, the cancellation sweep, the census, and the conformance tests of storages."""

from actorflow.testing.census import Census, LimiterToken, census, empty_house
from actorflow.testing.schedules import run_seeded, scheduling_seeds
from actorflow.testing.storage_conformance import StorageConformance
from actorflow.testing.sweep import Leak, LeakError, SweepReport, cancel_everywhere

__all__ = [
    "Census",
    "Leak",
    "LeakError",
    "LimiterToken",
    "StorageConformance",
    "SweepReport",
    "cancel_everywhere",
    "census",
    "empty_house",
    "run_seeded",
    "scheduling_seeds",
]

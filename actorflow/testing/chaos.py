"""Store chaos: a storage that raises, hangs, delays and loses acknowledgements at points that a seed decides, and heals.

It never lies: what it answers is true, and what it says it wrote is written.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast

import attrs
import trio

from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.durability import Durability
from actorflow.errors import CheckpointError, LeaseLostError
from actorflow.testing.census import tasks_beside_the_caller
from actorflow.testing.crash import compared, left_over
from actorflow.testing.crash_media import CrashableMemory, CrashableStorage
from actorflow.testing.crash_points import VERBS
from actorflow.testing.crash_report import CrashReport, CrashRow
from actorflow.testing.crash_trial import Answers, Diary, End, Scenario, Turn, in_one_piece, take_up
from actorflow.testing.schedules import play as play_seeded
from actorflow.workflow import Workflow

__all__ = ["ChaosStorage", "survive_chaos"]


class ChaosStorage:
    """Passes on to a storage what runs ask of it, with trouble at points that a seed decides.

    Equal seeds and equal calls give equal trouble: an OSError before or after the verb is done, an answer that never
    comes (until the caller is cancelled) before or after, or one that comes late. Tools such as `fsck` want the storage itself.

    Args:
        inner: The storage.
        seed: Decides where.
        troubles: How many there are before it heals for good.
        rate: The chance of each call to be one, 0 to 1.
        longest_delay: Seconds a late answer takes at most.

    Attributes:
        provoked: What was provoked, in order: "error after save".
    """

    def __init__(
        self, inner: CheckpointStorage, seed: int, *, troubles: int = 6, rate: float = 0.4, longest_delay: float = 45.0
    ) -> None:
        self.provoked: list[str] = []
        self._inner = inner
        self._draw = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._troubles = troubles
        self._rate = rate
        self._longest_delay = longest_delay

    def __getattr__(self, name: str) -> Any:
        if name not in VERBS:
            raise AttributeError(
                f"ChaosStorage passes on what runs ask of a storage, and {name!r} is none of it; ask the storage itself"
            )
        return partial(self._call, name, getattr(self._inner, name))

    @property
    def as_storage(self) -> CheckpointStorage:
        """This, as what it stands for to a type checker."""
        return cast("CheckpointStorage", self)

    async def _call(self, verb: str, inner: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        if len(self.provoked) >= self._troubles or self._draw.random() >= self._rate:
            return await inner(*args, **kwargs)
        kind, moment = self._draw.choice(("error", "hang", "delay")), self._draw.choice(("before", "after"))
        delay = self._draw.random() * self._longest_delay
        self.provoked.append(f"{kind} {moment} {verb}")
        if moment == "before":
            await self._trouble(kind, delay)
        result = await inner(*args, **kwargs)
        if moment == "after":
            await self._trouble(kind, delay)
        return result

    async def _trouble(self, kind: str, delay: float) -> None:
        match kind:
            case "error":
                raise OSError(f"chaos: {self.provoked[-1]}")
            case "hang":
                await trio.sleep_forever()
            case _:
                await trio.sleep(delay)


def survive_chaos(
    make_workflow: Callable[[], Workflow],
    message: Any,
    *,
    seeds: range = range(8),
    storage: Callable[[], CrashableStorage[Any]] = CrashableMemory,
    durability: Durability = "superstep",
    answers: Answers | None = None,
    config: Mapping[str, Any] | None = None,
) -> CrashReport:
    """Run a workflow over a `ChaosStorage`, take it up again as often as it fails or hangs, and compare with a clean run.

    Args:
        make_workflow: As for `crash_everywhere`, like the other arguments.
        message: Its input.
        seeds: One row each.
        storage: See `crash_everywhere`.
        durability: See `crash_everywhere`.
        answers: See `crash_everywhere`.
        config: See `crash_everywhere`.

    Returns:
        The report; ask it with `ok` or `raise_if_broken`.

    Raises:
        ValueError: `make_workflow` makes a new id each time, or gives one object every time.
        RuntimeError: Called from inside a trio run.
        AssertionError: After fifty attempts a workflow is not at its end.
        Exception: What a run raised, if it was not the storage's.
    """
    scenario = Scenario(
        make_workflow=make_workflow, message=message, answers=answers, config=config, durability=durability
    )
    scenario.check()
    return CrashReport(tuple(play_seeded(_Chaos(scenario, storage, seed).play, seed, timeout=1e9) for seed in seeds))


_PATIENCE = 120.0
_ATTEMPTS = 50


@attrs.frozen
class _Chaos:
    scenario: Scenario
    storage: Callable[[], CrashableStorage[Any]]
    seed: int

    async def play(self) -> CrashRow:
        tasks = len(tasks_beside_the_caller())
        clean = await in_one_piece(self.scenario, self.storage())
        medium = self.storage()
        try:
            inner = medium.open()
            chaos = ChaosStorage(inner, self.seed)
            workflow, turns = await self._to_the_end(chaos)
            end = await End.of(turns, workflow, inner)
            left = await left_over(inner, workflow.id, tasks, until_it_runs_out=True)
        finally:
            medium.close()
        return compared(
            clean,
            end,
            cells=(f"seed {self.seed}", "any", ", ".join(chaos.provoked) or "none"),
            repeated=0,
            left=left,
            every_superstep=self.scenario.durability != "exit",
        )

    async def _to_the_end(self, chaos: ChaosStorage) -> tuple[Workflow, list[Turn]]:
        """Take the workflow up until it comes to its end; fresh objects each time."""
        for _ in range(_ATTEMPTS):
            workflow = self.scenario.make_workflow()
            with trio.move_on_after(_PATIENCE):
                try:
                    return workflow, await take_up(self.scenario, workflow, chaos.as_storage, Diary())
                except (CheckpointError, LeaseLostError, OSError):  # OSError: this kit's own look at what is stored
                    continue
        raise AssertionError(f"not at its end after {_ATTEMPTS} attempts; seed {self.seed}: {chaos.provoked}")

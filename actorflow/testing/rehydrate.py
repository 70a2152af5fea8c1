"""Drop a run after every checkpoint and rebuild it from the storage, until it is at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from actorflow.durability import Durability
from actorflow.events import CheckpointSavedEvent, WorkflowEvent, WorkflowRunState
from actorflow.testing.census import tasks_beside_the_caller
from actorflow.testing.crash import compared, left_over
from actorflow.testing.crash_media import CrashableMemory, CrashableStorage
from actorflow.testing.crash_report import CrashReport, CrashRow
from actorflow.testing.crash_trial import Answers, Diary, End, Scenario, Turn, in_one_piece, take_up
from actorflow.testing.schedules import play as play_seeded
from actorflow.workflow import Workflow

__all__ = ["rehydrate_everywhere"]


def rehydrate_everywhere(
    make_workflow: Callable[[], Workflow],
    message: Any,
    *,
    storage: Callable[[], CrashableStorage[Any]] = CrashableMemory,
    durability: Durability = "superstep",
    answers: Answers | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> CrashReport:
    """Cancel a run at each checkpoint it writes, and go on with a fresh workflow over a fresh storage with the same bytes.

    What a workflow keeps outside its checkpoints is lost each time, so the end differs from that of a run in one piece.
    The arguments are those of `crash_everywhere`.

    Returns:
        A report with one row, whose operation tells how often the workflow was rebuilt.

    Raises:
        ValueError: `make_workflow` makes a new id each time, or gives one object every time.
        RuntimeError: Called from inside a trio run.
        Exception: What a run raised.
    """
    scenario = Scenario(
        make_workflow=make_workflow, message=message, answers=answers, config=config, durability=durability
    )
    scenario.check()
    row = play_seeded(_Rehydration(scenario, storage).play, seed, timeout=1e9)
    return CrashReport((row,))


@attrs.frozen
class _Rehydration:
    scenario: Scenario
    storage: Callable[[], CrashableStorage[Any]]

    async def play(self) -> CrashRow:
        clean = await in_one_piece(self.scenario, self.storage())
        tasks = len(tasks_beside_the_caller())
        medium = self.storage()
        try:
            over, rebuilt = medium.open(), 0
            while True:
                workflow = self.scenario.make_workflow()
                turns = await self._to_the_next_checkpoint(workflow, over)
                if turns is not None:
                    break
                over, rebuilt = medium.reopen(medium.snapshot()), rebuilt + 1
            end = await End.of(turns, workflow, over)
            left = await left_over(over, workflow.id, tasks)
        finally:
            medium.close()
        return compared(
            clean,
            end,
            cells=(f"rebuilt {rebuilt} times", "after", "cancel"),
            repeated=0,
            left=left,
            every_superstep=self.scenario.durability != "exit",
        )

    async def _to_the_next_checkpoint(self, workflow: Workflow, over: Any) -> list[Turn] | None:
        """Run until a checkpoint is written; what the runs gave, if the end came first."""
        scope = trio.CancelScope()

        def saw(event: WorkflowEvent) -> None:
            if isinstance(event, CheckpointSavedEvent):
                scope.cancel(reason="rehydrate_everywhere: a checkpoint was written")

        with scope:
            turns = await take_up(self.scenario, workflow, over, Diary(saw=saw))
            if turns[-1].status is not WorkflowRunState.CANCELLED and not scope.cancel_called:
                return turns
        return None

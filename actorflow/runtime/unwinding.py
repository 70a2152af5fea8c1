"""The way back of a run that did not complete: what is left is stored, and the workflow stands on its last committed superstep."""

from __future__ import annotations

from collections.abc import Iterable

from actorflow.errors import CheckpointError, LeaseLostError
from actorflow.events import WarningEvent
from actorflow.runtime.actor_group import ActorGroup
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.keeping import Keeping

__all__ = ["unwind"]


async def unwind(keeping: Keeping, actors: ActorGroup, failure: BaseException | None) -> None:
    """Bring a workflow back to its last committed superstep. If cancelled, what was not put back is marked stale.

    Args:
        keeping: Stores what is left.
        actors: The run's actors, which have ended.
        failure: What the run failed of; problems on the way back are noted on it.
    """
    core, emitter = keeping.core, keeping.emitter
    emitter.in_haste = True
    core.states.mark_stale(actors.touched)  # before anything can use up the time there is
    problems: list[BaseException] = [error for error in actors.stop_errors if error is not failure]
    try:
        await _store_what_is_left(keeping)
    except (CheckpointError, LeaseLostError) as error:
        problems.append(error)
    core.places.forget_all_but(core.standing.snapshot)
    problems += await core.states.roll_back(core.standing.snapshot)
    _tell(problems, emitter, failure)


async def _store_what_is_left(keeping: Keeping) -> None:
    if keeping.recorder is not None:
        await keeping.recorder.close()
        await keeping.write_what_is_left()


def _tell(problems: Iterable[BaseException], emitter: Emitter, failure: BaseException | None) -> None:
    for problem in problems:
        told = "; ".join([repr(problem), *getattr(problem, "__notes__", ())])
        if failure is not None and problem is not failure:
            failure.add_note(f"while the workflow went back to its last committed superstep: {told}")
        emitter.emit_nowait(WarningEvent, message=f"while going back to the last superstep: {told}")

"""What `actorflow demo` does: run the workflow, or take it up again, and show it."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import trio

from actorflow import LATEST, SqliteCheckpointStorage, Workflow
from actorflow.demo.display import open_display, print_ranking
from actorflow.demo.executors import Library, PackageMeasured, Ranking
from actorflow.demo.library import NoSourceError, standard_library
from actorflow.demo.workflow import WORKFLOW_ID, build_workflow
from actorflow.errors import ActorflowError, CheckpointNotFoundError
from actorflow.events import CheckpointSavedEvent

__all__ = ["Options", "run_demo"]

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""

_LEASE = 2.0  # seconds that a killed demo keeps the next one waiting
_KEPT = timedelta(days=7)


@attrs.frozen(kw_only=True)
class Options:
    """What the command line gave; None stands for the default."""

    resume: bool
    database: Path | None
    library: Path | None
    concurrency: int
    top: int


def run_demo(options: Options) -> int:
    """Run the demo.

    Returns:
        The exit code.
    """
    try:
        ranking = trio.run(_measure, options)
    except KeyboardInterrupt:
        _say(f"\nStopped. What is stored by now is kept; go on with: {_resume_command(options)}")
        return INTERRUPTED
    except CheckpointNotFoundError:
        _say(f"Nothing to resume in {_database(options)}; start with: actorflow demo{_database_option(options)}")
    except (NoSourceError, ActorflowError, OSError) as error:
        _say(f"actorflow demo: {error}")
    else:
        print_ranking(ranking, options.top)
        return 0
    return 1


async def _measure(options: Options) -> Ranking:
    database = _database(options)
    if options.resume and not database.exists():
        raise CheckpointNotFoundError(f"{database} is not there")
    database.parent.mkdir(parents=True, exist_ok=True)
    with SqliteCheckpointStorage(database, lease_ttl=_LEASE) as storage:
        workflow = build_workflow(storage, concurrency=options.concurrency)
        if options.resume:
            _say(f"Going on from the latest checkpoint in {database}")
            return await _watch(workflow, checkpoint_id=LATEST)
        library = Library(str((options.library or standard_library()).absolute()))
        _say(f"Measuring {library.folder}, with checkpoints in {database}")
        await storage.prune(workflow_id=WORKFLOW_ID, older_than=_KEPT)
        return await _watch(workflow, message=library)


async def _watch(workflow: Workflow, **what: Any) -> Ranking:
    """Run, show what happens, and return the one output."""
    checkpoints = 0
    with open_display() as display:
        # wait: a killed process holds its lease until that runs out
        async with workflow.stream(**what, wait=True) as run:
            async for event in run.events:
                match event:
                    case PackageMeasured():
                        display.show(event, checkpoints)
                    case CheckpointSavedEvent():
                        checkpoints += 1
            result = await run.wait()
    (ranking,) = result.outputs
    assert isinstance(ranking, Ranking)
    return ranking


def _database(options: Options) -> Path:
    return options.database or _state_folder() / "demo.db"


def _state_folder() -> Path:
    """Where this user's programs keep what must outlive them."""
    home = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "actorflow"


def _resume_command(options: Options) -> str:
    return f"actorflow demo --resume{_database_option(options)}"


def _database_option(options: Options) -> str:
    return f" --database {options.database}" if options.database else ""


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()

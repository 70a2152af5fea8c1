"""The command line. It needs the extra ``cli``, and imports what a command needs when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import ExistingDirectory
from cyclopts.validators import Number

__all__ = ["app"]

app = App(name="actorflow", help="Durable actor workflows for trio.", version_flags=["--version"])

_AtLeastOne = Parameter(validator=Number(gte=1))


@app.command
def demo(
    *,
    resume: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    database: Path | None = None,
    library: ExistingDirectory | None = None,
    concurrency: Annotated[int, _AtLeastOne] = 4,
    top: Annotated[int, _AtLeastOne] = 20,
) -> int:
    """Measure the Python standard library, in a workflow that can be killed and continued.

    Stop it with Ctrl-C or kill -9, and go on with --resume: the table is the same. Without --resume it starts afresh,
    and leaves the checkpoints of earlier runs where they are; those older than a week go.

    Args:
        resume: Go on from the latest checkpoint; with a finished run, print its table again.
        database: The file for the checkpoints. By default one in your state folder (~/.local/state/actorflow).
        library: Measure this folder of Python source instead. A resumed run keeps to the folder it began with.
        concurrency: How many packages to measure at once.
        top: How many packages to print.
    """
    from actorflow.demo.command import Options, run_demo

    return run_demo(Options(resume=resume, database=database, library=library, concurrency=concurrency, top=top))

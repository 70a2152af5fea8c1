"""How the tables of a database get from one version to the next, whatever the database.

What makes a version of the one before is a row of steps: statements, or functions for what depends on what is there. The
first version is made of nothing in the same way. An opener that finds an earlier version does all the steps that are left in
one transaction, under a lock for which other openers wait, and looks at the version again once it has that lock.

A step only adds. Sessions of an earlier actorflow that are open meanwhile go on working then: their statements name what
they read and write. One that cannot but change what is there has to rename it, so that their statements fail and
what they meet next is the version, which they refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from actorflow.errors import CheckpointError

__all__ = ["Step", "Versions", "later_version", "take_steps"]


class _Connection(Protocol):
    def execute(self, statement: str, /) -> object: ...


ConnectionT = TypeVar("ConnectionT", bound=_Connection)
Step = str | Callable[[ConnectionT], object]
Versions = Sequence[Sequence[Step[ConnectionT]]]


def take_steps(connection: ConnectionT, versions: Versions[ConnectionT], version: int) -> None:
    """Do what is left to do; called inside a transaction.

    Args:
        connection: Where the tables are.
        versions: What makes each version of the one before; the first one's is nothing.
        version: The version there is, 0 for none.
    """
    for steps in versions[version:]:
        for step in steps:
            if callable(step):
                step(connection)
            else:
                connection.execute(step)


def later_version(place: object, version: int, known: int) -> CheckpointError:
    """The error for tables that this version of the package cannot know."""
    return CheckpointError(
        f"{place} was written by a later actorflow (schema version {version}, this one knows up to {known}); "
        f"it was left as it is: upgrade actorflow, or use another one"
    )

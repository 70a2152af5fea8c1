"""What went wrong with an SQLite file, in words that name the file and the way out."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from actorflow.errors import CheckpointError

__all__ = ["explain", "leaves_connection_usable"]

_WAYS_OUT: dict[type[apsw.Error], str] = {
    apsw.BusyError: "is locked by another program; let that one finish, or raise busy_timeout",
    apsw.LockedError: "is locked by this program; close what else works on it",
    apsw.FullError: "cannot grow: the disk or the size limit is full; make room and try again",
    apsw.ReadOnlyError: "cannot be written: the file or its folder is read-only; change the permissions",
    apsw.PermissionsError: "may not be opened; change the permissions",
    apsw.NotADBError: "is not an SQLite database; it was left as it is: give the checkpoints a file of their own",
    apsw.CorruptError: "is damaged; keep a copy, try the sqlite3 shell's .recover, and use another file meanwhile",
    apsw.IOError: "could not be read or written by the operating system; check the disk",
    apsw.TooBigError: "cannot take or give a checkpoint of this size; keep large values outside and store where they are, "
    "or open it with a larger max_payload",
}


def explain(error: apsw.Error, path: Path) -> CheckpointError:
    """Make the error a storage raises from the one SQLite raised, which becomes its cause."""
    explained = CheckpointError(f"{path} {_way_out(error, path)} ({type(error).__name__}: {error})")
    explained.__cause__ = error
    return explained


def _way_out(error: apsw.Error, path: Path) -> str:
    if isinstance(error, apsw.CantOpenError) or os.path.isdir(path):  # noqa: PTH112  # it answers where it may not look
        return _why_not_opened(path)
    for kind, text in _WAYS_OUT.items():
        if isinstance(error, kind):
            return text
    return "could not be used: SQLite refused an operation; see the cause"


def _why_not_opened(path: Path) -> str:
    try:
        if path.is_dir():
            return "is a folder; name a file in it"
        if not path.parent.is_dir():
            return f"cannot be created: there is no folder {path.parent}; create it first"
    except OSError as error:
        return f"cannot be reached: {error.strerror}; change the permissions"
    return "cannot be opened: the file or its folder may not be written; change the permissions"


def leaves_connection_usable(error: BaseException) -> bool:
    """Whether the cause lies in the moment or in the statement, so that the same connection may be used again."""
    return isinstance(error, (apsw.BusyError, apsw.FullError, apsw.ConstraintError, apsw.TooBigError))

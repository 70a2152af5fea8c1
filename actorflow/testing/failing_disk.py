"""A disk that fails in the middle of a write, under SQLite: half a page reaches the log, and SQLite hears of an error."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw
import attrs

__all__ = ["FAILURES", "FailingDisk"]

FAILURES: Final = ("the disk is full at the first page", "the disk breaks at the page that would commit")
"""How a transaction fails: with next to nothing of it in the log, or with all but half of its last page."""

_FRAME_HEADER = 24
_LOG_HEADER = 32


class FailingDisk(apsw.VFS):
    """A file system for SQLite, which is that of the operating system until it is told to fail.

    Attributes:
        name: What a connection asks for it by.
    """

    def __init__(self) -> None:
        self.name = f"actorflow-{uuid.uuid4().hex}"
        super().__init__(self.name, "")
        self._failure: _Failure | None = None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's
        """Open a file; of a write-ahead log every write is looked at."""
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            return _Log(self, name, flags)
        return apsw.VFSFile("", name, flags)

    @contextmanager
    def failing(self, variant: int) -> Iterator[None]:
        """Let every transaction fail meanwhile, in one of the `FAILURES`; afterwards the disk is whole again."""
        self._failure = _Failure(variant)
        try:
            yield
        finally:
            self._failure = None

    def refusal(self, data: bytes) -> apsw.Error | None:
        """The error of a write of which only half gets through; None if all of it does."""
        return None if self._failure is None else self._failure.refusal(data)


class _Log(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write all of it, or half of it and fail."""
        refusal = self._disk.refusal(data)
        if refusal is None:
            return super().xWrite(data, offset)
        super().xWrite(data[: len(data) // 2], offset)
        raise refusal


@attrs.define(eq=False)
class _Failure:
    """One way to fail. A log is written page by page, each after a header of its own, which says whether it commits."""

    variant: int
    _commits: bool = False

    def refusal(self, data: bytes) -> apsw.Error | None:
        if len(data) == _FRAME_HEADER:
            self._commits = any(data[4:8])  # the size of the database after the commit; 0 in all frames but the last
        if len(data) in (_FRAME_HEADER, _LOG_HEADER):
            return None
        if self.variant == 0:
            return apsw.FullError(FAILURES[0])
        return apsw.IOError(FAILURES[1]) if self._commits else None

"""A storage that notes every operation, and goes wrong at one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, Generic, TypeVar, cast

import attrs
import trio

from actorflow.checkpoint.records import CheckpointInfo, Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError
from actorflow.testing.crash_media import CrashableStorage
from actorflow.testing.crash_points import VERBS, CrashPoint, Fault, Moment, Operation, operation_of

__all__ = ["FaultingStorage"]

BytesT = TypeVar("BytesT")


@attrs.define(eq=False)
class FaultingStorage(Generic[BytesT]):
    """Passes every verb on to the storage of a medium, and provokes one fault.

    Once the process counts as killed, no verb reaches the storage any more: what a run does on its way out is what a dead
    process would not have done.

    Attributes:
        medium: Where the bytes are.
        inner: The storage that was opened there.
        point: The fault; None to note operations only.
        killed: Called at the instant of a kill.
        hung: Awaited when a verb begins to hang.
        operations: What was called, in order.
        survivors: The bytes at the instant of the kill.
        struck: When the fault was provoked, by trio's clock; None before.
        lease: The lease that the run may have, whether or not it heard of it.
        acknowledged: Ids of the checkpoints that the run was told are stored.
    """

    medium: CrashableStorage[BytesT]
    inner: CheckpointStorage
    point: CrashPoint | None = None
    killed: Callable[[], None] = lambda: None
    hung: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    operations: list[Operation] = attrs.field(factory=list, init=False)
    survivors: BytesT | None = attrs.field(default=None, init=False)
    struck: float | None = attrs.field(default=None, init=False)
    lease: Lease | None = attrs.field(default=None, init=False)
    acknowledged: list[str] = attrs.field(factory=list, init=False)

    def __getattr__(self, name: str) -> Any:
        if name not in VERBS:
            raise AttributeError(name)
        return partial(self._call, name, getattr(self.inner, name))  # a verb that the storage lacks is lacking here

    @property
    def as_storage(self) -> CheckpointStorage:
        """This, as what it stands for."""
        return cast("CheckpointStorage", self)

    @property
    def is_gone(self) -> bool:
        """Whether the process counts as killed."""
        return self.survivors is not None

    async def _call(self, verb: str, inner: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        if self.is_gone:
            raise OSError("the process that used this storage was killed")
        operation = operation_of(len(self.operations) + 1, verb, args)
        self.operations.append(operation)
        do = partial(self._noted, verb, inner, *args, **kwargs)
        if self.point is None or operation.number != self.point.operation.number:
            return self._acknowledged(await do())
        self.struck = trio.current_time()
        if self.point.fault is Fault.KILL:
            return await self._kill(self.point, do)
        if self.point.fault is Fault.ERROR:
            return await self._fail(self.point, do)
        return await self._hang(self.point, do)

    async def _fail(self, point: CrashPoint, do: Callable[[], Awaitable[Any]]) -> Any:
        if point.moment is Moment.TORN:
            with self._failing(point):
                return self._acknowledged(await do())  # its own error; one that says all is well is believed
        if point.moment is Moment.AFTER:
            await do()
        raise OSError(f"told to fail {point.moment} operation {point.operation}")

    async def _hang(self, point: CrashPoint, do: Callable[[], Awaitable[Any]]) -> None:
        if point.moment is Moment.TORN:
            with self._failing(point), suppress(CheckpointError):
                await do()
        if point.moment is Moment.AFTER:
            await do()
        await self.hung()
        await trio.sleep_forever()

    def _failing(self, point: CrashPoint) -> AbstractContextManager[None]:
        return cast("Any", self.medium).failing(point.variant)  # type: ignore[no-any-return]  # such points are for those that can

    async def _noted(self, verb: str, inner: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        answer = await inner(*args, **kwargs)
        if verb in ("acquire_lease", "release_lease"):
            self.lease = answer
        elif verb == "renew_lease":
            self.lease = args[0]  # its time to live may be another than it was
        return answer

    def _acknowledged(self, answer: Any) -> Any:
        if isinstance(answer, CheckpointInfo) and not self.is_gone:
            self.acknowledged.append(answer.id)
        return answer

    async def _kill(self, point: CrashPoint, do: Callable[[], Awaitable[Any]]) -> None:
        self.survivors = await self._bytes_left(point, do)
        self.killed()
        await trio.sleep_forever()

    async def _bytes_left(self, point: CrashPoint, do: Callable[[], Awaitable[Any]]) -> BytesT:
        if point.moment is Moment.BEFORE:
            return self.medium.snapshot()
        before = self.medium.snapshot() if point.moment is Moment.TORN else None
        await do()
        after = self.medium.snapshot()
        return after if before is None else self.medium.tear(before, after, point.variant)

"""A storage that notes every operation, and goes wrong at one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
        if self.point.moment is Moment.AFTER:
            await do()
        failed = await self._fail_halfway(self.point.variant, do) if self.point.moment is Moment.TORN else None
        if self.point.fault is Fault.ERROR:
            raise failed or OSError(f"told to fail {self.point.moment} operation {operation}")
        await self.hung()
        return await trio.sleep_forever()

    async def _noted(self, verb: str, inner: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        answer = await inner(*args, **kwargs)
        if verb in ("acquire_lease", "release_lease"):
            self.lease = answer
        elif verb == "renew_lease":
            self.lease = args[0]  # its time to live may be another than it was
        return answer

    async def _fail_halfway(self, variant: int, do: Callable[[], Awaitable[Any]]) -> Exception | None:
        """Let the storage fail by itself, and give its own error; None if it had nothing to write."""
        with self.medium.failing(variant):  # type: ignore[attr-defined]  # points of this kind are for those that have it
            try:
                await do()
            except CheckpointError as error:
                return error
        return None

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

"""A storage that notes every operation, and goes wrong at one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

import attrs
import trio

from actorflow.checkpoint.records import CheckpointInfo
from actorflow.checkpoint.storage import CheckpointStorage
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
        medium: Where the storage is opened.
        point: The fault; None to note operations only.
        killed: Called at the instant of a kill.
        hung: Called when a verb begins to hang.
        operations: What was called, in order.
        survivors: The bytes at the instant of the kill.
        struck: Whether the fault has been provoked.
        acknowledged: Ids of the checkpoints that the run was told are stored.
    """

    medium: CrashableStorage[BytesT]
    point: CrashPoint | None = None
    killed: Callable[[], None] = lambda: None
    hung: Callable[[], None] = lambda: None
    operations: list[Operation] = attrs.field(factory=list, init=False)
    survivors: BytesT | None = attrs.field(default=None, init=False)
    struck: bool = attrs.field(default=False, init=False)
    acknowledged: list[str] = attrs.field(factory=list, init=False)
    _inner: CheckpointStorage = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._inner = self.medium.open()

    def __getattr__(self, name: str) -> Any:
        if name not in VERBS:
            raise AttributeError(name)
        return partial(self._call, name, getattr(self._inner, name))  # a verb that the storage lacks is lacking here

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
        do = partial(inner, *args, **kwargs)
        if self.point is None or operation.number != self.point.operation.number:
            return self._acknowledged(await do())
        self.struck = True
        if self.point.fault is Fault.KILL:
            return await self._kill(self.point, do)
        if self.point.moment is Moment.AFTER:
            await do()
        if self.point.fault is Fault.ERROR:
            raise OSError(f"told to fail {self.point.moment} operation {operation}")
        self.hung()
        return await trio.sleep_forever()

    def _acknowledged(self, answer: Any) -> Any:
        if isinstance(answer, CheckpointInfo) and not self.is_gone:
            self.acknowledged.append(answer.id)
        return answer

    async def _kill(self, point: CrashPoint, do: Callable[[], Awaitable[Any]]) -> None:
        before = self.medium.snapshot()
        if point.moment is Moment.BEFORE:
            self.survivors = before
        else:
            await do()
            after = self.medium.snapshot()
            torn = point.moment is Moment.TORN
            self.survivors = self.medium.tear(before, after, point.variant) if torn else after
        self.killed()
        await trio.sleep_forever()

"""What travels through a superstep, as values: deliveries in, effects out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, Final

import attrs

from actorflow.core.value_class import value_class

__all__ = [
    "NO_EFFECTS",
    "REMOVED",
    "Delivery",
    "Effects",
    "Finished",
    "Output",
    "OutputKind",
    "PendingRequest",
    "Sent",
    "Write",
    "WriteKind",
]


class _Removed:
    """The value of something that is gone."""

    def __repr__(self) -> str:
        return "REMOVED"

    def __deepcopy__(self, memo: object) -> _Removed:
        return self


REMOVED: Final = _Removed()


class OutputKind(StrEnum):
    """Who sees an output."""

    OUTPUT = "output"
    INTERMEDIATE = "intermediate"
    HIDDEN = "hidden"


class WriteKind(Enum):
    """How a state write combines with what is there."""

    SET = "set"
    """Through the key's reducer, where it has one."""
    REPLACE = "replace"
    """As it is: a value read and changed in place."""
    DELETE = "delete"


@attrs.frozen
class PendingRequest:
    """A request that waits for an answer.

    Attributes:
        id: What to answer to.
        executor_id: The executor that asks.
        data: The request.
        response_type: The declared type of an answer.
        timeout: Seconds it stays open once it is committed; None for ever.
        due: When it expires, in seconds since 1970 UTC; None before it is committed, and without a timeout.
    """

    id: str
    executor_id: str
    data: Any
    response_type: Any
    timeout: float | None = None
    due: float | None = None


@value_class
class Delivery:
    """One message for one executor in one superstep.

    Attributes:
        target_id: The executor that handles it.
        value: The message; for an answer, the response.
        source_ids: The executors it came from; empty for the input of a run.
        request: The request that `value` answers, if it is an answer.
    """

    target_id: str
    value: Any
    source_ids: tuple[str, ...] = ()
    request: PendingRequest | None = None


@value_class
class Sent:
    """A message an executor sent: along its edges, or along those that lead to one target.

    Attributes:
        value: The message.
        target_id: The one target.
        delay: Seconds it waits once its superstep has committed.
    """

    value: Any
    target_id: str | None = None
    delay: float = 0.0


@attrs.frozen
class Write:
    """One write to the shared state."""

    key: str
    kind: WriteKind
    value: Any = None


@value_class
class Output:
    """A value an executor yielded."""

    executor_id: str
    value: Any
    kind: OutputKind


@attrs.define(eq=False)
class Effects:
    """What handling one delivery did; it takes effect when the superstep commits, or never.

    What there is none of takes up no list: a superstep may have ten thousand of these.

    Attributes:
        sent: Messages, in the order they were sent.
        writes: Writes to the shared state, in order.
        outputs: Outputs, in order.
        requests: New requests, in order.
    """

    sent: list[Sent] | tuple[()] = ()
    writes: list[Write] | tuple[()] = ()
    outputs: list[Output] | tuple[()] = ()
    requests: list[PendingRequest] | tuple[()] = ()

    def __bool__(self) -> bool:
        return bool(self.sent or self.outputs or self.writes or self.requests)


NO_EFFECTS: Final = Effects()
"""What every delivery did that did nothing; not to be added to. Thousands of them need not be thousands of objects."""


@value_class(eq=False, unsafe_hash=False)
class Finished:
    """A delivery whose handler has returned, in a superstep that has not committed (yet).

    Attributes:
        delivery: The delivery; kept work is for this one alone, whatever stands in its place later.
        effects: What it did.
        overlay: The shared state as the same executor's next delivery sees it: written values by key.
        state_after: The executor's own state after it; `REMOVED` if it keeps none.
    """

    delivery: Delivery
    effects: Effects
    overlay: Mapping[str, Any]
    state_after: Any

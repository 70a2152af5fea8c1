"""What passes between a workflow and those that run inside its executors, and how these are named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote

import attrs

from actorflow.core.effects import PendingRequest

__all__ = [
    "ChildInput",
    "LocatedRequest",
    "SubWorkflowRequest",
    "SubWorkflowResponse",
    "child_name",
    "executor_of",
    "is_isolated",
    "is_name",
    "path_of",
    "turn_of",
]

_NAME = re.compile(r"[^#:|/@]+(#[1-9][0-9]*)?")


@attrs.frozen
class SubWorkflowResponse:
    """The answer to a `SubWorkflowRequest`, to be sent to the executor that it came from.

    Attributes:
        request_id: The request.
        value: The answer, of the type the child declared.
        child: Which of the executor's children asked; made by `SubWorkflowRequest.respond`.
        due: When the request expires, in seconds since 1970 UTC; None if it does not. An answer that comes later is dropped.
    """

    request_id: str
    value: Any
    child: str
    due: float | None = None

    def is_for(self, request: PendingRequest) -> bool:
        """Whether a request that is open under the same id is the one that is answered, and not one asked since."""
        return self.due is None or self.due == request.due


@attrs.frozen
class SubWorkflowRequest:
    """A child's request, as a message: what a `WorkflowExecutor` sends when it does not propagate requests.

    Attributes:
        request_id: The request's id in the child.
        executor_id: The executor to answer to: ``ctx.send_message(request.respond(value), request.executor_id)``.
        data: What the child asks.
        child: Which of the executor's children asks.
        due: When the request expires, in seconds since 1970 UTC; None if it does not.
    """

    request_id: str
    executor_id: str
    data: Any
    child: str
    due: float | None = None

    def respond(self, value: Any) -> SubWorkflowResponse:
        """Make the answer to this request.

        Args:
            value: The answer, of the type the child declared; checked when the executor gets it.
        """
        return SubWorkflowResponse(self.request_id, value, self.child, self.due)


@attrs.frozen
class ChildInput:
    """An input that waits for a child to take it.

    Attributes:
        executor_id: The executor it was delivered to.
        value: The message.
        origin: Id of that delivery; the root of the ids of all that comes of it in the child.
    """

    executor_id: str
    value: Any
    origin: str


@attrs.frozen
class LocatedRequest:
    """An open request, and where it is.

    Attributes:
        names: Names of the children that lead to it; empty for one of the workflow itself.
        request: The request.
    """

    names: tuple[str, ...]
    request: PendingRequest


def child_name(executor_id: str, number: int | None) -> str:
    """The name of a child within its parent's state.

    Args:
        executor_id: The executor it runs inside.
        number: Which of the inputs it is for; None for an executor with one child that keeps its state.
    """
    name = quote(executor_id, safe="")
    return name if number is None else f"{name}#{number}"


def turn_of(name: str) -> tuple[int, str]:
    """Where a child stands among its siblings: those that keep their state first, then by their inputs."""
    executor, _, number = name.partition("#")
    return int(number or 0), executor


def executor_of(name: str) -> str:
    """The executor that a child runs inside."""
    return unquote(name.partition("#")[0])


def is_name(name: str) -> bool:
    """Whether something can be the name of a child."""
    return _NAME.fullmatch(name) is not None


def is_isolated(name: str) -> bool:
    """Whether a child is for one input alone."""
    return "#" in name


def path_of(names: Iterable[str]) -> tuple[str, ...]:
    """The executors that nest a level, outermost first."""
    return tuple(map(executor_of, names))

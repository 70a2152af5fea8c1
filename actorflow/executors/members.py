"""The executors that a builder was given: objects, factories, ids of ones already added."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MethodType

import attrs

from actorflow.errors import ActorflowError, DuplicateExecutorError, ExecutorReusedError, WorkflowValidationError
from actorflow.executors.executor import Executor
from actorflow.executors.function import FunctionExecutor

__all__ = ["ExecutorLike", "Members"]

ExecutorLike = Executor | Callable[[], Executor] | str
"""An executor, a zero-argument factory of one, or the id of one already added."""

_OWNED = "_actorflow_workflow"


@attrs.define(eq=False)
class _Member:
    """One executor: an object, or a factory and the object it made last that no workflow has yet."""

    factory: Callable[[], Executor] | None
    sample: Executor
    unused: Executor | None


class Members:
    """Knows each executor once, and hands out one set of them for each workflow."""

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}
        self._factories: dict[object, str] = {}

    def __contains__(self, executor_id: str) -> bool:
        return executor_id in self._members

    def __len__(self) -> int:
        return len(self._members)

    def samples(self) -> Iterator[Executor]:
        """One object of each, in the order added; to be looked at, not to be run."""
        return (member.sample for member in self._members.values())

    def add(self, given: ExecutorLike) -> str:
        """Note an executor.

        Returns:
            Its id.

        Raises:
            DuplicateExecutorError: Another one has its id.
            WorkflowValidationError: It is no executor, and no factory of one.
        """
        if isinstance(given, str):
            return given
        known = self.find(given)
        if known is not None:
            return known
        if isinstance(given, Executor):
            return self._add(given, None)
        if not callable(given):
            raise WorkflowValidationError(f"{given!r} is no executor, factory or id")
        return self._add(_made_by(given), given)

    def find(self, given: object) -> str | None:
        """The id of an executor or factory that was added; None for a stranger."""
        if not isinstance(given, Executor):
            return self._factories.get(_key(given))
        member = self._members.get(getattr(given, "id", ""))
        return given.id if member is not None and member.sample is given else None

    def take(self) -> dict[str, Executor]:
        """One set of executors that no workflow has, by id; all of it, or none.

        Raises:
            ExecutorReusedError: An object belongs to another workflow already.
            WorkflowValidationError: A factory makes something else now.
        """
        taken = {executor_id: self._take(executor_id, member) for executor_id, member in self._members.items()}
        for executor_id, executor in taken.items():
            if not isinstance(executor, FunctionExecutor):
                setattr(executor, _OWNED, True)
            self._members[executor_id].unused = None
        return taken

    def _add(self, executor: Executor, factory: Callable[[], Executor] | None) -> str:
        if not hasattr(executor, "id"):
            raise WorkflowValidationError(f"{type(executor).__name__}.__init__ must call super().__init__(id=...)")
        known = self._members.get(executor.id)
        if known is not None:
            raise DuplicateExecutorError(
                f"two executors have the id {executor.id!r} ({known.sample!r} and {executor!r}); give each its own, or "
                f"refer to the one already added by its id"
            )
        self._members[executor.id] = _Member(factory, executor, executor)
        if factory is not None:
            self._factories[_key(factory)] = executor.id
        return executor.id

    def _take(self, executor_id: str, member: _Member) -> Executor:
        executor = member.sample if member.factory is None else (member.unused or _made_by(member.factory))
        if executor.id != executor_id or type(executor) is not type(member.sample):
            raise WorkflowValidationError(
                f"executor {executor_id!r} has become {executor!r}; the id and the kind of an executor stay, and a factory "
                f"makes the same every time"
            )
        if getattr(executor, _OWNED, False):
            raise ExecutorReusedError(_reused(executor, is_made=member.factory is not None))
        return executor


def _key(factory: object) -> object:
    """Identity of a factory that is kept alive; a bound method is a new object every time it is looked up."""
    return (id(factory.__self__), factory.__func__) if isinstance(factory, MethodType) else id(factory)


def _made_by(factory: Callable[[], Executor]) -> Executor:
    try:
        made = factory()
    except ActorflowError:
        raise
    except TypeError as error:
        raise WorkflowValidationError(
            f"{factory!r} is not a zero-argument factory ({error}); give an executor, or a lambda that makes one"
        ) from error
    if not isinstance(made, Executor):
        raise WorkflowValidationError(f"factory {factory!r} made {made!r}, which is no Executor")
    return made


def _reused(executor: Executor, *, is_made: bool) -> str:
    kind = type(executor).__name__
    if is_made:
        return (
            f"the factory of executor {executor.id!r} returned an object that another workflow has already; let it make a "
            f"new {kind} each time"
        )
    return (
        f"executor object {executor.id!r} belongs to another workflow; give the builder a factory, such as "
        f"lambda: {kind}(id={executor.id!r})"
    )

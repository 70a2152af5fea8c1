"""What executors keep to themselves: captured after each delivery, put back to roll back or to restore.

An executor with a typed ``state`` is captured by copying it, one with checkpoint hooks by asking it. Captured values are
private copies, so nothing the executor does later reaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from actorflow.core.effects import REMOVED
from actorflow.core.snapshot import EXECUTORS, Section, Snapshot
from actorflow.core.values import private_copy
from actorflow.errors import CheckpointError
from actorflow.executors.executor import Executor, has_state_hooks
from actorflow.executors.own_state import has_typed_state, new_state

__all__ = ["ExecutorStates"]


@attrs.define(eq=False)
class ExecutorStates:
    """The executors of one workflow, and of those that run inside it, that have a state of their own.

    Attributes:
        stateful: Those executors, by the section that holds their state.
        stale: Sections of executors that could not be rolled back yet; the next run does it first.
    """

    stateful: dict[Section, Executor] = attrs.Factory(dict)
    stale: set[Section] = attrs.Factory(set)
    _initial: dict[Section, Any] = attrs.Factory(dict)
    _unasked: dict[Section, Executor] = attrs.Factory(dict)

    @classmethod
    def of(cls, executors: Mapping[str, Executor]) -> ExecutorStates:
        """Pick the stateful ones."""
        states = cls()
        states.join(executors, lambda executor_id: (EXECUTORS, executor_id))
        return states

    def join(self, executors: Mapping[str, Executor], section_of: Callable[[str], Section]) -> None:
        """Pick the stateful ones of a workflow that runs inside."""
        for id_, each in executors.items():
            if has_typed_state(each) or has_state_hooks(each):
                self.stateful[section_of(id_)] = each
            if has_state_hooks(each):
                self._unasked[section_of(id_)] = each

    def leave(self, executors: Mapping[str, Executor], section_of: Callable[[str], Section]) -> None:
        """Forget those of a workflow that is gone."""
        for section in map(section_of, executors):
            self.stateful.pop(section, None)
            self._initial.pop(section, None)
            self._unasked.pop(section, None)
            self.stale.discard(section)

    async def remember_initial(self) -> None:
        """Ask executors with hooks for the state they begin with; done once for each, before anything else."""
        for section, executor in [*self._unasked.items()]:
            self._initial[section] = private_copy(dict(await executor.on_checkpoint_save()))
            del self._unasked[section]

    async def capture(self, executor: Executor) -> Any:
        """A private copy of an executor's state."""
        typed = private_copy(executor.state) if has_typed_state(executor) else None
        if not has_state_hooks(executor):
            return typed
        saved = private_copy(dict(await executor.on_checkpoint_save()))
        return (typed, saved) if has_typed_state(executor) else saved

    async def give(self, section: Section, value: Any) -> None:
        """Give one executor a captured state; REMOVED stands for the one it began with."""
        executor = self.stateful[section]
        if has_typed_state(executor):
            typed = value[0] if has_state_hooks(executor) and value is not REMOVED else value
            executor.state = new_state(executor) if typed is REMOVED else private_copy(typed)
        if has_state_hooks(executor):
            saved = value[1] if has_typed_state(executor) and value is not REMOVED else value
            given = self._initial.get(section, {}) if saved is REMOVED else saved
            await executor.on_checkpoint_restore(private_copy(given))  # type: ignore[arg-type]

    async def put_back(self, snapshot: Snapshot, sections: Iterable[Section]) -> None:
        """Give executors the state a snapshot has for them; all of them, or none.

        Raises:
            CheckpointError: An executor's hook refused. Those before it got their present state back.
        """
        before: list[tuple[Section, Any]] = []
        given = False
        try:
            for section in sections:
                await self._put_back_one(snapshot, section, before)
            given = True
        finally:
            if not given:  # a hook was cancelled, or refused: the next run puts all of them where the workflow stands
                self.mark_stale(section for section, _ in before)
        self.stale.difference_update(section for section, _ in before)

    async def _put_back_one(self, snapshot: Snapshot, section: Section, before: list[tuple[Section, Any]]) -> None:
        before.append((section, await self.capture(self.stateful[section])))
        refusal: Exception | None = None
        try:
            await self.give(section, snapshot.get(section))
        except Exception as error:  # noqa: BLE001 - a user's hook; raised below, once what it interrupted is undone
            refusal = error
        if refusal is not None:
            await self._undo(before, refusal)
            raise CheckpointError(
                f"executor {self.stateful[section].id!r} could not take back its state: {refusal!r}; nothing was restored"
            ) from refusal

    def mark_stale(self, sections: Iterable[Section]) -> None:
        """Note executors whose present state is not the committed one; those without a state of their own are passed over."""
        self.stale.update(section for section in sections if section in self.stateful)

    async def roll_back(self, snapshot: Snapshot) -> list[BaseException]:
        """Give stale executors the state of a snapshot, each for itself; those that refuse stay stale.

        Returns:
            What went wrong.
        """
        problems: list[BaseException] = []
        for section in sorted(self.stale):
            try:
                await self.give(section, snapshot.get(section))
            except Exception as error:  # noqa: BLE001 - a user's hook; it is reported, and tried again by the next run
                problems.append(error)
            else:
                self.stale.discard(section)
        return problems

    async def _undo(self, before: list[tuple[Section, Any]], cause: Exception) -> None:
        for section, value in reversed(before):
            try:
                await self.give(section, value)
            except Exception as error:  # noqa: BLE001 - noted on the error that is about to be raised
                self.stale.add(section)
                cause.add_note(
                    f"executor {self.stateful[section].id!r} could not be given its former state back either: {error!r}"
                )

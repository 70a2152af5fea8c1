"""Executor: user code with typed handlers, to be run as an actor."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from actorflow.errors import HandlerSignatureError, StateTypeError
from actorflow.executors.compiling import compile_handlers
from actorflow.executors.context import WorkflowContext
from actorflow.executors.handler_table import HandlerTable
from actorflow.executors.own_state import LOCAL_NAMES, has_typed_state, names_at_definition, new_state
from actorflow.executors.resolving import class_names
from actorflow.policy import RateLimit, SupervisionPolicy, check_policy

__all__ = ["Executor", "check_executor", "has_state_hooks"]


class Executor:
    """The base of executors: subclass it and mark methods with `handler` and `response_handler`.

    A class that annotates ``state: T``, where T can be constructed without arguments or a default is given, gets a
    ``self.state`` that the runtime saves, restores and rolls back by itself. For anything else override the checkpoint hooks.

    An executor object belongs to one workflow; give builders a factory to build many.

    Args:
        id: Unique within a workflow; checkpoints refer to it.
        policy: Supervision of its deliveries; it replaces the workflow's.
        concurrency: How many deliveries of one superstep are handled at once. More than one is for executors that keep
            no state of their own; the order of effects stays canonical.
        rate_limit: How many attempts may begin in a period.

    Raises:
        ValueError: `id` is empty, or `concurrency` is less than 1.
        TypeError: `policy` or `rate_limit` is something else.
    """

    type_name: ClassVar[str | None] = None
    """Stable name of the type in graph signatures; the class name unless set. Set it to the old name when a class is renamed."""

    _table: ClassVar[HandlerTable]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Remember what string annotations mean where the class is defined."""
        super().__init_subclass__(**kwargs)
        setattr(cls, LOCAL_NAMES, class_names(cls))

    def __init__(
        self,
        id: str,  # noqa: A002 - the design's name
        *,
        policy: SupervisionPolicy | None = None,
        concurrency: int = 1,
        rate_limit: RateLimit | None = None,
    ) -> None:
        if not isinstance(id, str) or not id:
            raise ValueError(f"an executor's id is a non-empty str, not {id!r}")
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f"concurrency of executor {id!r} is a whole number from 1, not {concurrency!r}")
        check_policy(f"executor {id!r}", policy, rate_limit)
        self.id = id
        self.policy = policy
        self.concurrency = concurrency
        self.rate_limit = rate_limit
        if has_typed_state(self):
            self.state = new_state(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'id', '?')!r}>"

    async def on_start(self, ctx: WorkflowContext[Any, Any]) -> None:
        """Prepare; runs in the actor's task before its first delivery of a run.

        Not called in a run that delivers nothing to this executor. An error fails the run like a handler's. If it is
        cancelled, as when the run is, nothing was delivered, and `on_stop` is not called.

        Args:
            ctx: Has the run's `config`; without a delivery nothing can be sent or yielded.
        """

    async def on_stop(self, ctx: WorkflowContext[Any, Any]) -> None:
        """Clean up; runs in the actor's task when the run ends in any way, if `on_start` succeeded.

        After a failure or a cancellation it runs shielded, for at most the workflow's `cleanup_grace`. Not called when the process dies.

        Args:
            ctx: As for `on_start`.
        """

    async def on_checkpoint_save(self) -> Mapping[str, Any]:
        """Return this executor's own state as a mapping of values the codec knows; called after each superstep it took part in.

        Called before the first run, too, for the state to begin with, and before a restore, to be able to undo it. If it
        raises or is cancelled in a superstep, that is not committed.
        """
        return {}

    async def on_checkpoint_restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `on_checkpoint_save` returned: on restore, and to roll back after a failure.

        It replaces the state as a whole: after a cancellation it may be called again.

        Args:
            state: What was returned.
        """

    # For the runtime.

    @property
    def handler_table(self) -> HandlerTable:
        """The compiled handlers.

        Raises:
            WorkflowValidationError: They do not compile.
        """
        return self._class_table()

    @property
    def signature_name(self) -> str:
        """The stable type name."""
        return type(self).type_name or type(self).__name__

    @classmethod
    def _class_table(cls) -> HandlerTable:
        table = cls.__dict__.get("_table")
        if table is None:
            names = {base: names_at_definition(base) for base in cls.__mro__ if issubclass(base, Executor)}
            cls._table = table = compile_handlers(cls, names)
        return typing.cast("HandlerTable", table)


def has_state_hooks(executor: Executor) -> bool:
    """Whether its class overrides the checkpoint hooks."""
    cls = type(executor)
    return (
        cls.on_checkpoint_save is not Executor.on_checkpoint_save
        or cls.on_checkpoint_restore is not Executor.on_checkpoint_restore
    )


def check_executor(executor: Executor) -> None:
    """Refuse an executor that cannot work, whatever graph it is in.

    Raises:
        WorkflowValidationError: It cannot.
    """
    if not hasattr(executor, "id"):
        raise HandlerSignatureError(f"{type(executor).__name__}.__init__ must call super().__init__(id=...)")
    _ = executor.handler_table
    if executor.concurrency > 1 and (has_typed_state(executor) or has_state_hooks(executor)):
        raise StateTypeError(
            f"executor {executor.id!r} has concurrency={executor.concurrency} and a state of its own; "
            f"keep the state in ctx.set_state, or use concurrency=1"
        )

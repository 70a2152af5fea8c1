"""Executor: user code with typed handlers, to be run as an actor."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from actorflow.core.annotations import substitute
from actorflow.core.values import private_copy
from actorflow.errors import HandlerSignatureError, StateTypeError
from actorflow.executors.compiling import compile_handlers
from actorflow.executors.context import WorkflowContext
from actorflow.executors.handler_table import HandlerTable
from actorflow.executors.resolving import class_names, resolve_in_class, type_arguments
from actorflow.policy import RateLimit, SupervisionPolicy, check_policy

_NO_DEFAULT = object()

__all__ = ["Executor"]


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

    _local_names: ClassVar[Mapping[str, Any]] = {}
    _table: ClassVar[HandlerTable]
    _state_annotation: ClassVar[Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Remember what string annotations mean where the class is defined."""
        super().__init_subclass__(**kwargs)
        cls._local_names = class_names(cls)

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
        state_type = type(self).state_annotation()
        if state_type is not None:
            self.state = self.new_state()

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

    @property
    def has_typed_state(self) -> bool:
        """Whether the runtime keeps ``self.state``."""
        return type(self).state_annotation() is not None

    @property
    def has_state_hooks(self) -> bool:
        """Whether the class overrides the checkpoint hooks."""
        cls = type(self)
        return (
            cls.on_checkpoint_save is not Executor.on_checkpoint_save
            or cls.on_checkpoint_restore is not Executor.on_checkpoint_restore
        )

    @classmethod
    def _class_table(cls) -> HandlerTable:
        table = cls.__dict__.get("_table")
        if table is None:
            names = {base: base.names_at_definition() for base in cls.__mro__ if issubclass(base, Executor)}
            cls._table = table = compile_handlers(cls, names)
        return typing.cast("HandlerTable", table)

    @classmethod
    def names_at_definition(cls) -> Mapping[str, Any]:
        """What the string annotations in the body of this very class meant where it was defined."""
        return cls._local_names

    @classmethod
    def state_annotation(cls) -> Any:
        """The type of ``self.state``, or None where the class declares none.

        Raises:
            StateTypeError: The annotation cannot be resolved.
        """
        if "_state_annotation" not in cls.__dict__:
            cls._state_annotation = _find_state_annotation(cls)
        return cls._state_annotation

    def new_state(self) -> Any:
        """A fresh state object: a copy of the class's default, or the type called without arguments.

        Raises:
            StateTypeError: The type cannot be constructed without arguments.
        """
        default = getattr(type(self), "state", _NO_DEFAULT)
        if default is not _NO_DEFAULT:
            return private_copy(default)
        annotation = type(self).state_annotation()
        constructor = typing.get_origin(annotation) or annotation
        try:
            return constructor()
        except TypeError as error:
            raise StateTypeError(
                f"executor class {type(self).__name__} declares state: {annotation!r}, which cannot be constructed "
                f"without arguments ({error}); give its fields defaults, or use the checkpoint hooks"
            ) from error


def _find_state_annotation(cls: type[Executor]) -> Any:
    owner = next((base for base in cls.__mro__ if "state" in inspect.get_annotations(base)), None)
    if owner is None:
        return None
    names = owner.names_at_definition() if issubclass(owner, Executor) else {}
    try:
        annotation = resolve_in_class(owner, "state", names)
    except (NameError, SyntaxError, TypeError) as error:
        raise StateTypeError(
            f"the annotation of state of executor class {cls.__name__} cannot be resolved ({error}); import the name at "
            f"module level"
        ) from error
    if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
        raise StateTypeError(f"state of executor class {cls.__name__} is a ClassVar; a state belongs to one executor")
    return substitute(annotation, type_arguments(cls).get(owner, {}))


def check_executor(executor: Executor) -> None:
    """Refuse an executor that cannot work, whatever graph it is in.

    Raises:
        WorkflowValidationError: It cannot.
    """
    if not hasattr(executor, "id"):
        raise HandlerSignatureError(f"{type(executor).__name__}.__init__ must call super().__init__(id=...)")
    _ = executor.handler_table
    if executor.concurrency > 1 and (executor.has_typed_state or executor.has_state_hooks):
        raise StateTypeError(
            f"executor {executor.id!r} has concurrency={executor.concurrency} and a state of its own; "
            f"keep the state in ctx.set_state, or use concurrency=1"
        )

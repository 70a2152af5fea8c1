"""What ``run``, ``stream`` and ``start`` are given, and which of it contradicts itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from actorflow.checkpoint.records import CheckpointID
from actorflow.checkpoint.storage import CheckpointStorage, is_storage
from actorflow.core.types import describe
from actorflow.durability import Durability
from actorflow.errors import MessageTypeError
from actorflow.runtime.definition import Definition

__all__ = ["LATEST", "UNSET", "Latest", "RunArguments"]


class Latest:
    """The type of `LATEST`."""

    def __repr__(self) -> str:
        return "LATEST"


class _Unset:
    def __repr__(self) -> str:
        return "..."


LATEST: Final = Latest()
"""``checkpoint_id=LATEST``: the latest checkpoint of this workflow's id; without a storage, where the workflow stands."""

UNSET: Final = _Unset()
"""The default of ``message``: None may be a message."""


@attrs.frozen(kw_only=True)
class RunArguments:
    """What ``run``, ``stream`` and ``start`` were given.

    Attributes:
        message: The input.
        responses: Answers by request id.
        checkpoint_id: Where to take up.
        storage: Where to write; already the workflow's default if the caller gave none.
        durability: When to write.
        config: For the handlers; never stored.
        wait: Whether to queue for ownership.
    """

    message: Any
    responses: Mapping[str, Any] | None
    checkpoint_id: CheckpointID | str | Latest | None
    storage: CheckpointStorage | None
    durability: Durability
    config: Mapping[str, Any]
    wait: bool

    def check(self, definition: Definition) -> None:
        """Refuse what contradicts itself, and an input the start executor cannot take.

        Raises:
            ValueError: Contradictory or missing arguments.
            MessageTypeError: Wrong type of input.
        """
        given = self.message is not UNSET
        if given and self.responses is not None:
            raise ValueError("give a message or responses, not both")
        if given and self.checkpoint_id is not None:
            raise ValueError("a checkpoint is resumed without a message; leave out message, or checkpoint_id")
        if not given and self.responses is None and self.checkpoint_id is None:
            raise ValueError("nothing to run: give a message, responses, or a checkpoint_id")
        if self.checkpoint_id is not None and not isinstance(self.checkpoint_id, (str, Latest)):
            raise ValueError(
                f"checkpoint_id is the id of a checkpoint or LATEST, not {type(self.checkpoint_id).__name__}; give .id"
            )
        if self.responses is not None and not isinstance(self.responses, Mapping):
            raise ValueError(f"responses is a mapping of request ids to answers, not {type(self.responses).__name__}")
        if self.checkpoint_id is not None and self.checkpoint_id is not LATEST and self.storage is None:
            raise ValueError(
                f"checkpoint_id={self.checkpoint_id!r} needs a storage to load from; give checkpoint_storage here or "
                f"to the builder"
            )
        if not isinstance(self.config, Mapping):
            raise ValueError(  # noqa: TRY004 - as for every contradictory argument
                f"config is a mapping for the handlers, not {type(self.config).__name__}"
            )
        if self.storage is not None and not is_storage(self.storage):
            raise ValueError(
                f"checkpoint_storage is a CheckpointStorage, not {type(self.storage).__name__}; for a file give "
                f"SqliteCheckpointStorage(path)"
            )
        if given:
            start = definition.graph.nodes[definition.graph.start_id]
            if not start.inputs.accepts(self.message):
                taken = " | ".join(map(describe, start.inputs.annotations))
                raise MessageTypeError(
                    f"the start executor {start.id!r} cannot take {type(self.message).__name__}; it handles {taken}"
                )

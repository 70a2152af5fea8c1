"""Calls to a storage: whatever a backend raises reaches a user as a `CheckpointError`, with the backend's error as cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actorflow.errors import ActorflowError, CheckpointError

__all__ = ["storage_errors"]


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Map what a block that calls a storage raises.

    Args:
        what: What failed, as the beginning of a sentence.

    Raises:
        CheckpointError: The backend raised something of its own. Errors of ours pass as they are.
    """
    try:
        yield
    except ActorflowError:
        raise
    except Exception as error:
        raise CheckpointError(f"{what}: {error}") from error

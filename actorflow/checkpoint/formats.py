"""Which stored formats this version reads, and what it says of others, in one place for all who look into a checkpoint."""

from __future__ import annotations

from actorflow.checkpoint.records import FORMAT_VERSION, CheckpointInfo
from actorflow.errors import CheckpointError

__all__ = ["check_format"]


def check_format(info: CheckpointInfo, verb: str) -> None:
    """Refuse a checkpoint whose contents this version would misread.

    Args:
        info: The checkpoint, or its header.
        verb: What was to be done with it, for the message.

    Raises:
        CheckpointError: It was written in a format that this version does not know.
    """
    if not 1 <= info.format_version <= FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {info.id!r} was written in format {info.format_version}, this version of actorflow reads 1 to "
            f"{FORMAT_VERSION}; {verb} it with the version that wrote it, or a newer one"
        )

"""Rows of a relational storage as they are, field by field, with text as its bytes: what checkpoint they make, or why none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actorflow.checkpoint.headers import KINDS
from actorflow.checkpoint.records import CheckpointID, CheckpointInfo
from actorflow.checkpoint.stored_rows import StoredParent, StoredRow
from actorflow.clock import EPOCH, MICROSECOND

__all__ = ["Fields", "row_of", "shown"]

Fields = Mapping[str, Any]


def row_of(position: int, fields: Fields, of_parent: Sequence[Any], type_fault: str = "") -> StoredRow:
    """The row that fields make.

    Args:
        position: Its key.
        fields: Its values by name; text as bytes.
        of_parent: Position, id, workflow id and digest of the row it names as its parent; None where there is none.
        type_fault: What is wrong with the types of its values, if anything.
    """
    info, damage = (None, type_fault) if type_fault else _header(fields, of_parent[1])
    return StoredRow(
        position=position,
        checkpoint_id=shown(fields["id"]),
        workflow_id=shown(fields["workflow id"]),
        info=info,
        damage=damage,
        payload=fields["payload"] or b"",
        full=bool(fields["is_full"]),
        seal=fields["seal"],
        refers_to=None if fields["parent"] is None else f"the row at position {fields['parent']}",
        parent=_parent(*of_parent),
    )


def _header(fields: Fields, parent_id: bytes | None) -> tuple[CheckpointInfo | None, str]:
    fault = _impossible(fields)
    if fault:
        return None, fault
    try:
        return _made(fields, parent_id), ""
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, or a time beyond the year 9999
        return None, f"a field is out of its range: {error}"


def _impossible(fields: Fields) -> str:
    if fields["is_full"] not in (0, 1):
        return f"its is_full is {fields['is_full']}, not 0 or 1"
    if not 0 <= fields["kind"] < len(KINDS):
        return f"its kind is {fields['kind']}, which this version does not know"
    for name in ("workflow", "definition"):
        if fields[name] != fields[f"{name} of its run"]:
            return f"its run is one of another {name}"
    return ""


def _made(fields: Fields, parent_id: bytes | None) -> CheckpointInfo:
    return CheckpointInfo(
        id=CheckpointID(fields["id"].decode()),
        parent_id=None if parent_id is None else CheckpointID(shown(parent_id)),
        workflow_name=fields["workflow name"].decode(),
        workflow_id=fields["workflow id"].decode(),
        run_id=fields["run id"].decode(),
        superstep=fields["superstep"],
        kind=KINDS[fields["kind"]],
        graph_signature=fields["graph signature"].decode(),
        created_at=EPOCH + fields["created_at"] * MICROSECOND,
        sequence=fields["sequence"],
        derived_from=None if fields["derived_from"] is None else CheckpointID(fields["derived_from"].decode()),
        format_version=fields["format_version"],
        digest="" if fields["digest"] is None else fields["digest"].hex(),
    )


def _parent(position: int | None, _: object, workflow_id: bytes | None, digest: bytes | None) -> StoredParent | None:
    if position is None:
        return None
    return StoredParent(
        position=position, workflow_id=shown(workflow_id), digest="" if digest is None else digest.hex()
    )


def shown(text: bytes | None) -> str:
    """As much of a text as can be read."""
    return "" if text is None else text.decode("utf-8", "replace")

"""The files of the corpus: one JSON object a line, with payloads in base64, so that a review sees what is in them."""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

from actorflow import InMemoryCheckpointStorage
from actorflow.storage import FORMAT_VERSION, CheckpointInfo, CheckpointKind, Commit, JournalEntry

HERE = Path(__file__).parent
HEADER = (
    "id",
    "parent_id",
    "derived_from",
    "workflow_name",
    "workflow_id",
    "run_id",
    "superstep",
    "kind",
    "graph_signature",
    "created_at",
    "format_version",
)


def folder(version: int = FORMAT_VERSION) -> Path:
    return HERE / f"format-{version}"


def lines_of(storage: InMemoryCheckpointStorage) -> list[dict[str, Any]]:
    """Everything a storage keeps, in order of writing."""
    rows: list[dict[str, Any]] = []
    for record in storage._records.values():
        header = {name: getattr(record.info, name) for name in HEADER}
        header["created_at"] = record.info.created_at.isoformat()
        rows.append({"checkpoint": header, "full": record.full, "payload": _text(record.payload)})
    return rows


async def journal_lines(storage: InMemoryCheckpointStorage) -> list[dict[str, Any]]:
    """The journals of the latest checkpoints."""
    names = dict.fromkeys(info.workflow_id for info in await storage.list())
    rows = []
    for workflow_id in names:
        head = await storage.latest(workflow_id=workflow_id)
        assert head is not None
        for entry in await storage.read_journal(workflow_id, head.id):
            place = {"workflow_id": workflow_id, "checkpoint_id": head.id, "index": entry.index}
            rows.append({"journal": place, "payload": _text(entry.payload)})
    return rows


async def fill(storage: Any, path: Path) -> None:
    """Put what a file holds into a storage."""
    entries = []
    for line in path.read_text(encoding="ascii").splitlines():  # noqa: ASYNC240  a test, and small
        row = json.loads(line)
        payload = base64.b64decode(row["payload"], validate=True)
        if "journal" in row:
            entries.append(JournalEntry(**row["journal"], payload=payload))
            continue
        header = row["checkpoint"]
        created_at, kind = datetime.fromisoformat(header.pop("created_at")), CheckpointKind(header.pop("kind"))
        info = CheckpointInfo(**header, created_at=created_at, kind=kind)
        await storage.save(Commit(info=info, payload=payload, full=row["full"]))
    if entries:
        await storage.write_journal(entries)


def dumped(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@contextmanager
def counted_ids() -> Iterator[None]:
    """Run ids count up, so that the same program writes the same bytes."""
    with mock.patch.object(uuid, "uuid4", side_effect=(uuid.UUID(int=number) for number in itertools.count(1))):
        yield


def _text(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")

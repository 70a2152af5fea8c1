"""Forking: the state of a checkpoint, edited, under another workflow id."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import trio

from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.sections import CHAIN_KEY, SectionCodec, section_key
from actorflow.checkpoint.commit_rules import is_storable
from actorflow.checkpoint.deltas import pack_delta
from actorflow.checkpoint.diffs import ABSENT
from actorflow.checkpoint.formats import check_format
from actorflow.checkpoint.records import (
    Checkpoint,
    CheckpointID,
    CheckpointInfo,
    Commit,
    Delta,
    Lease,
)
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.snapshot import STATE
from actorflow.errors import CheckpointError

__all__ = ["fork"]

_RELEASE_GRACE = 5.0


async def fork(
    storage: CheckpointStorage,
    checkpoint_id: CheckpointID | str,
    workflow_id: str,
    state: Mapping[str, Any],
    types: Iterable[object],
) -> CheckpointInfo:
    """See `actorflow.storage.StorageTools.fork`."""
    _check(workflow_id, state)
    codec = SectionCodec(TypeRegistry(types))
    origin = await storage.load(checkpoint_id)
    _check_origin(origin, workflow_id)
    payload = pack_delta(Delta(changed=_edited(origin, workflow_id, state, codec), full=True))
    await _refuse_taken(storage, workflow_id)
    run_id = uuid.uuid4().hex
    async with _leased(storage, workflow_id, run_id) as lease:
        await _refuse_taken(storage, workflow_id)
        info = _header(origin, workflow_id, run_id)
        return await storage.save(Commit(info=info, payload=payload, full=True, lease=lease))


def _check(workflow_id: str, state: Mapping[str, Any]) -> None:
    if not isinstance(workflow_id, str) or not workflow_id or not is_storable(workflow_id):
        raise ValueError(f"workflow_id is {workflow_id!r}; a fork needs one of its own: text that UTF-8 can hold")
    if not isinstance(state, Mapping):
        raise ValueError(f"state is a mapping of keys to values, not {type(state).__name__}")  # noqa: TRY004 - as below
    for key in state:
        if not isinstance(key, str):
            raise ValueError(f"state has the key {key!r}; keys of the shared state are str")  # noqa: TRY004 - bad argument


def _check_origin(origin: Checkpoint, workflow_id: str) -> None:
    if origin.workflow_id == workflow_id:
        raise ValueError(
            f"checkpoint {origin.id!r} is of workflow {workflow_id!r} itself; a fork needs another workflow_id, and to go "
            f"back within one run(checkpoint_id=...) is enough"
        )
    check_format(origin, "fork")


async def _refuse_taken(storage: CheckpointStorage, workflow_id: str) -> None:
    for taken in await storage.list(workflow_id=workflow_id, limit=1):
        raise CheckpointError(
            f"workflow {workflow_id!r} has checkpoints in {storage!r} already, {taken.id!r} the latest; fork under an id "
            f"that has none"
        )


def _edited(origin: Checkpoint, workflow_id: str, state: Mapping[str, Any], codec: SectionCodec) -> dict[str, bytes]:
    # Bytes that are not edited are taken over as they are, so nothing need be known of their types.
    sections = {key: data for key, data in origin.contents.items() if key != CHAIN_KEY}
    for name, value in state.items():
        key = section_key((STATE, name))
        if value is ABSENT:
            sections.pop(key, None)
        else:
            sections[key] = codec.encode((STATE, name), value)
    return {key: codec.branched(key, data, workflow_id) for key, data in sections.items()}


def _header(origin: Checkpoint, workflow_id: str, run_id: str) -> CheckpointInfo:
    return CheckpointInfo(
        id=CheckpointID(f"{run_id}-1"),
        parent_id=origin.id,
        workflow_name=origin.workflow_name,
        workflow_id=workflow_id,
        run_id=run_id,
        superstep=origin.superstep,
        kind=origin.kind,
        graph_signature=origin.graph_signature,
        created_at=datetime.now(UTC),
        format_version=origin.format_version,
    )


@asynccontextmanager
async def _leased(storage: CheckpointStorage, workflow_id: str, owner: str) -> AsyncIterator[Lease | None]:
    """Hold the lease of a workflow id; None where the storage grants none, as it does for runs."""
    if not hasattr(storage, "acquire_lease"):
        yield None
        return
    lease = await storage.acquire_lease(workflow_id, owner=owner)
    try:
        yield lease
    finally:
        with trio.move_on_after(_RELEASE_GRACE, shield=True):
            await _release(storage, lease)


async def _release(storage: CheckpointStorage, lease: Lease) -> None:
    try:
        await storage.release_lease(lease)
    except Exception:  # noqa: BLE001 - must not replace what the write raised or returned
        return  # the storage is out of reach: the lease runs out, as after a kill

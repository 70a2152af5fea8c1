"""Who may have a lease and who may write, decided in one place for every storage. Nothing here reads a clock."""

from __future__ import annotations

import math
import os
import socket

import attrs

from actorflow.checkpoint.commit_rules import is_storable
from actorflow.checkpoint.processes import has_died
from actorflow.checkpoint.records import Lease
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError

__all__ = [
    "Holding",
    "check_current",
    "check_free",
    "check_renewal",
    "check_request",
    "check_ttl",
    "check_writer",
    "is_live",
    "this_host",
]


@attrs.frozen
class Holding:
    """A lease as a storage keeps it.

    Attributes:
        lease: What was granted.
        acquired: When, in seconds since 1970 UTC.
        expires: From when on anybody may overtake it.
        process: Who holds it, in a form by which its death can be told (see `actorflow.checkpoint.processes`); may be
            empty.
    """

    lease: Lease
    acquired: float
    expires: float
    process: str = ""


def check_ttl(ttl: float) -> None:
    """Refuse a time to live that is none.

    Raises:
        ValueError: It is not positive, or not finite.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not (ttl > 0 and math.isfinite(ttl)):
        raise ValueError(f"lease_ttl is {ttl!r}; it is seconds, more than 0 and finite")


def check_renewal(renewal: float | None, ttl: float) -> None:
    """Refuse a time between renewals that would let the lease run out.

    Raises:
        ValueError: It is not between 0 and the time to live.
    """
    if renewal is None:
        return
    if isinstance(renewal, bool) or not isinstance(renewal, (int, float)) or not 0 < renewal < ttl:
        raise ValueError(
            f"lease_renewal is {renewal!r}; it is seconds, more than 0 and less than lease_ttl={ttl!r}, or None for a third of that"
        )


def check_request(workflow_id: str, owner: str) -> None:
    """Refuse names that no storage could keep.

    Raises:
        CheckpointError: One of them is empty, or not text that UTF-8 can hold.
    """
    for name, value in (("workflow_id", workflow_id), ("owner", owner)):
        if not isinstance(value, str) or not value or not is_storable(value):
            raise CheckpointError(f"{name} of a lease is {value!r}; it is text that UTF-8 can hold, and not empty")


def this_host() -> str:
    """Host name and process id, for people."""
    name = socket.gethostname().encode("utf-8", "replace").decode()
    return f"{name} (process {os.getpid()})"


def is_live(holding: Holding, now: float) -> bool:
    """Whether a lease has not expired, and its holder is not known to be dead: a dead process will never write again.

    One that would last for more than twice its time to live was granted before the clock was set back; waiting for the
    old time to come again could take for ever.
    """
    return now < holding.expires <= now + 2 * holding.lease.ttl and not has_died(holding.process)


def check_free(holding: Holding | None, owner: str, now: float) -> None:
    """Let an owner acquire what is free, expired, or its own.

    Raises:
        LeaseHeldError: Another one has it.
    """
    if holding is not None and holding.lease.owner != owner and is_live(holding, now):
        raise _held(holding, now)


def check_current(lease: Lease, holding: Holding | None) -> None:
    """Refuse a lease that was overtaken or released. That it has expired is no reason: nobody has written since.

    Args:
        lease: What the holder shows.
        holding: What the storage has for that workflow id.

    Raises:
        LeaseLostError: They are not the same grant.
    """
    current = None if holding is None else holding.lease
    if current is not None and (current.epoch, current.owner) == (lease.epoch, lease.owner):
        return
    raise LeaseLostError(
        lease.workflow_id,
        lease.owner,
        lease.epoch,
        holder=current.owner if current else None,
        host=current.host if current else None,
    )


def check_writer(lease: Lease | None, holding: Holding | None, now: float) -> bool:
    """Let through who may write to a workflow id.

    Args:
        lease: The writer's lease of that workflow id, None if it has none.
        holding: What the storage has for that workflow id.
        now: The time.

    Returns:
        Whether the storage must end the holding: a writer without a lease has overtaken it.

    Raises:
        LeaseLostError: The lease is not the current one.
        LeaseHeldError: There is no lease, and another one has one that has not expired.
    """
    if lease is not None:
        check_current(lease, holding)
        return False
    if holding is None:
        return False
    if is_live(holding, now):
        raise _held(holding, now)
    return True


def _held(holding: Holding, now: float) -> LeaseHeldError:
    lease = holding.lease
    age = max(0.0, now - holding.acquired)
    return LeaseHeldError(
        lease.workflow_id, owner=lease.owner, host=lease.host, age=age, expires_in=holding.expires - now
    )

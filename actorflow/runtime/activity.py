"""The run that is under way, as far as it explains what its workflow does."""

from __future__ import annotations

import attrs

from actorflow.runtime.actor_group import ActorGroup
from actorflow.runtime.emitter import Emitter
from actorflow.runtime.leasing import LeaseKeeper
from actorflow.runtime.waiting import Waiting

__all__ = ["Activity"]


@attrs.define(eq=False)
class Activity:
    """Where to look at a run.

    Attributes:
        actors: The deliveries under way.
        waiting: Its clock.
        emitter: The number of the superstep, and the time that events bear.
        lease: The lease it holds.
        since: When the superstep under way began, by trio's clock.
    """

    actors: ActorGroup
    waiting: Waiting
    emitter: Emitter
    lease: LeaseKeeper | None
    since: float = 0.0

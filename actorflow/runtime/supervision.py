"""Supervision: sees each delivery of an executor through its attempts, and decides what its failure does.

Invariants:

* An attempt that failed leaves no effects: its context is thrown away, and the executor's own state is put back, before
  anything else happens.
* A failed attempt is noted, and written where there is a journal, before the gap to the next begins. So whoever resumes
  counts on, and waits for what is left of the gap.
* Only an `Exception` is ever tried again, dropped, sent or restarted for; and not while the run is being cancelled, when
  whatever a handler raises is no failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from enum import Enum
from typing import Any, Protocol

import attrs
import trio

from actorflow.clock import wall_time
from actorflow.core.effects import Effects, Finished, Sent
from actorflow.core.snapshot import RESTARTS, Changes
from actorflow.core.trials import Trial, Trials
from actorflow.events import ExecutorFailedEvent, ExecutorRetryingEvent, MessageDroppedEvent, WarningEvent
from actorflow.executors.executor import Executor
from actorflow.graph.nesting import Names
from actorflow.policy import ExecutorFailure, SupervisionPolicy
from actorflow.runtime.places import is_inside, section_at
from actorflow.runtime.run_port import RunPort
from actorflow.runtime.slot import Slot
from actorflow.runtime.standing import Standing
from actorflow.runtime.turns import Turn

__all__ = ["Supervision", "Supervisor", "Verdict"]

_BARE = SupervisionPolicy()


class Verdict(Enum):
    """What became of a delivery."""

    DONE = "done"
    FAILED = "failed"
    RESTART = "restart"


class Supervised(Protocol):
    """What a supervisor asks of the actor it watches over."""

    async def attempt(self, slot: Slot, number: int, limit: float | None) -> BaseException | None:
        """Make an attempt and return what it raised."""
        ...

    async def put_state_back(self) -> None:
        """Give the executor the state it had before the delivery at work."""
        ...

    def nothing_done(self, slot: Slot, effects: Effects) -> Finished:
        """The delivery as one that left the executor's state and view of the shared state as they were."""
        ...


@attrs.define(eq=False)
class Supervision:
    """What the supervisors of one run share.

    Attributes:
        standing: Where what was tried is kept.
        record: Writes what was tried to the journal, if there is one and it can be written now.
    """

    standing: Standing
    record: Callable[[], Awaitable[None]] | None
    _epoch: float | None = None

    def supervisor(self, executor: Executor, port: RunPort) -> Supervisor | None:
        """Who watches over an executor; None where nothing could happen that a failure of the run is not."""
        policy = executor.policy or port.definition.policy or _BARE
        turn = port.place.turns.of(executor.id)
        return None if policy.is_bare and turn is None else Supervisor(self, port, executor.id, policy, turn)

    def now(self) -> float:
        """The time of day, moved on by trio's clock: a clock that is set moves no window while the run lasts."""
        now = trio.current_time()
        if self._epoch is None:
            self._epoch = wall_time() - now
        return self._epoch + now

    @property
    def trials(self) -> Trials:
        """What was tried in the superstep under way."""
        return self.standing.trials

    async def written(self) -> None:
        """Have what was tried written."""
        if self.record is not None:
            await self.record()

    def restart_changes(self, gone: Collection[Names]) -> Changes:
        """When executors were restarted in the superstep that is about to commit; not those of children that are gone by it."""
        return {
            section_at(names, (RESTARTS, executor_id)): times
            for (names, executor_id), times in self.trials.times().items()
            if not is_inside(names, gone)
        }

    def end_superstep(self) -> None:
        """The superstep is committed: nothing of it will be tried again."""
        if self.trials:
            self.standing.trials = Trials()


@attrs.define(eq=False)
class Supervisor:
    """Watches over the deliveries of one executor.

    Attributes:
        run: Shared by the run's supervisors.
        port: The run, as the executor sees it.
        executor_id: The executor.
        policy: Its own, or the workflow's.
        turn: Its turns; None if it never waits for one.
    """

    run: Supervision
    port: RunPort
    executor_id: str
    policy: SupervisionPolicy
    turn: Turn | None

    @property
    def may_go_on(self) -> bool:
        """Whether anything may follow a failed attempt, so that the state before it is wanted."""
        return self.policy.on_failure != "fail" or self._attempts > 1

    @property
    def _attempts(self) -> int:
        return self.policy.retry.attempts if self.policy.retry is not None else 1

    async def see_through(self, actor: Supervised, slot: Slot) -> tuple[Verdict, BaseException | None]:
        """Try a delivery until it is done, or given up. Only Cancelled gets out.

        Returns:
            What became of it, and the last attempt's error.
        """
        trials = self.run.trials
        trial = trials.of(slot.index, slot.member, slot.delivery) if trials.by_place else None
        number = 1 if trial is None else await self._take_up(trial)
        while True:
            slot.attempt = number
            if self.turn is None:
                error = await actor.attempt(slot, number, self.policy.timeout)
            else:
                error = await self._attempt_in_turn(self.turn, actor, slot)
            if error is None:
                return Verdict.DONE, None
            if not isinstance(error, Exception):
                return self._fail(slot, error), error
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                if number >= self._attempts or not self._covers(error):
                    return await self._give_up(actor, slot, error), error
                await self._retry(actor, slot, error)
            except Exception as refusal:  # noqa: BLE001 - a user's predicate, or a hook that did not take its state back
                refusal.add_note(f"raised while a failure was handled: {error!r}")
                return self._fail(slot, refusal), refusal
            number += 1

    async def _take_up(self, trial: Trial) -> int:
        """Wait for what is left of a gap that an earlier run began; returns the number of the next attempt."""
        remaining = min(trial.due - self.run.now(), trial.delay)  # a clock that was set back makes no gap longer
        if remaining > 0:
            await trio.sleep(remaining)
        return trial.attempts + 1

    async def _attempt_in_turn(self, turn: Turn, actor: Supervised, slot: Slot) -> BaseException | None:
        await turn.begin()
        try:
            return await actor.attempt(slot, slot.attempt, self.policy.timeout)
        finally:
            turn.end()

    def _covers(self, error: Exception) -> bool:
        return self.policy.retry is not None and self.policy.retry.covers(error)

    async def _retry(self, actor: Supervised, slot: Slot, error: Exception) -> None:
        assert self.policy.retry is not None
        number = slot.attempt
        await actor.put_state_back()
        delay = self.policy.retry.gap_after(number, slot.delivery_id)
        due = self.run.now() + delay
        self.run.trials.failed(slot.index, slot.member, slot.delivery, attempts=number, due=due, delay=delay)
        await self.run.written()
        await self._tell_failed(slot, error)
        await self._emit(
            slot, ExecutorRetryingEvent, attempt=number + 1, delay=delay, error=error, voids=(slot.delivery_id,)
        )
        await trio.sleep(max(0.0, due - self.run.now()))

    async def _give_up(self, actor: Supervised, slot: Slot, error: Exception) -> Verdict:
        match self.policy.on_failure:
            case "drop":
                return await self._go_on(actor, slot, error, Effects())
            case "send" if self.executor_id in self.port.definition.failure_senders:
                failure = ExecutorFailure(
                    self.executor_id, type(error).__name__, str(error), slot.delivery.value, slot.attempt
                )
                return await self._go_on(actor, slot, error, Effects(sent=[Sent(failure)]))
            case "restart":
                return Verdict.RESTART
            case _:
                return self._fail(slot, error)

    async def _go_on(self, actor: Supervised, slot: Slot, error: Exception, effects: Effects) -> Verdict:
        await actor.put_state_back()
        await self._tell_failed(slot, error)
        if not effects.sent:
            sources = slot.delivery.source_ids
            await self.port.emitter.emit(
                MessageDroppedEvent,
                reason="discarded",
                message=slot.delivery.value,
                source_id=sources[0] if len(sources) == 1 else None,
                target_id=self.executor_id,
                delivery_id=slot.delivery_id,
            )
        slot.finished = actor.nothing_done(slot, effects)
        return Verdict.DONE

    def _fail(self, slot: Slot, error: BaseException) -> Verdict:
        """The delivery failed for good, and with it the run; whoever takes it up again counts from the beginning."""
        slot.note_failure(self.port.superstep, error, of_attempts=self._attempts)
        if isinstance(error, Exception):
            self.run.trials.begin_anew(slot.index, slot.member, slot.delivery)
        return Verdict.FAILED

    # Restarts.

    def may_restart(self, slot: Slot, error: Exception) -> bool:
        """Note a restart for the failure of a delivery. False if that would be one too many: the run fails."""
        trials, limit = self.run.trials, self.policy.restarts
        known = trials.restarts.get(slot.member)
        stored: Any = self.port.snapshot.table(RESTARTS).get(self.executor_id, ())
        now = self.run.now()
        recent = limit.recent(known.times if known is not None else stored, now)
        if len(recent) >= limit.max_restarts:
            error.add_note(
                f"executor {self.executor_id!r} was restarted {len(recent)} times within {limit.period:g} s, and its policy "
                f"allows no more than {limit.max_restarts}"
            )
            self._fail(slot, error)
            return False
        trials.restarted(slot.index, slot.member, (*recent, now))
        return True

    async def tell_restart(self, slot: Slot, error: Exception, again: Iterable[Slot]) -> None:
        """Have a restart written, and tell of it: whatever the executor streamed in this superstep is void.

        Args:
            slot: The delivery that failed.
            error: What its handler raised.
            again: All the deliveries that will be handled again.
        """
        await self.run.written()
        await self._tell_failed(slot, error)
        voids = tuple([each.delivery_id for each in again])
        await self._emit(slot, ExecutorRetryingEvent, attempt=1, delay=0.0, error=error, restarted=True, voids=voids)

    async def warn(self, message: str) -> None:
        """Tell of something that went wrong beside a failure."""
        await self.port.emitter.emit(WarningEvent, message=message)

    async def _tell_failed(self, slot: Slot, error: BaseException) -> None:
        await self._emit(slot, ExecutorFailedEvent, attempt=slot.attempt, error=error)

    async def _emit(self, slot: Slot, kind: Any, **fields: Any) -> None:
        await self.port.emitter.emit(kind, executor_id=self.executor_id, delivery_id=slot.delivery_id, **fields)

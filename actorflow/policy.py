"""Supervision as plain data: how often a delivery is tried, how long it may take, and what its failure does.

Every value is checked when it is made, so that a policy that exists can be followed. `docs/supervision.md` has the rules.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import attrs

__all__ = ["ExecutorFailure", "OnFailure", "RateLimit", "RestartIntensity", "Retry", "SupervisionPolicy"]

OnFailure = Literal["fail", "drop", "send", "restart"]
"""What a delivery that failed for good does."""

MAX_ATTEMPTS = 2**20
"""More attempts than anybody means; each failed one may be a record in a journal."""


def _checked_number(name: str, value: Any, *, at_least: float = 0, above: float = -math.inf, hint: str = "") -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and value >= at_least and value > above:
        return
    bound = f"above {above:g}" if above > -math.inf else f"from {at_least:g}"
    raise ValueError(f"{name} is a finite number {bound}, not {value!r}{hint}")


def _checked_count(name: str, value: Any, *, at_least: int, hint: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} is a whole number from {at_least}, not {value!r}{hint}")


@attrs.frozen
class Retry:
    """How often a failing delivery is tried, and how long the gaps are.

    The gap after attempt n is ``delay * factor ** (n - 1)`` seconds, at most `max_delay`; then jitter makes it longer or
    shorter by up to that fraction of itself. What jitter draws is a function of the delivery id and the attempt, so that a
    replay agrees with what it replays.

    Args:
        attempts: Calls of the handler in all, the first included.
        delay: Seconds between the first attempt and the second.
        factor: How much longer each gap is than the one before; from 1.
        max_delay: Seconds that a gap is cut down to, before jitter.
        jitter: Fraction, from 0 to 1, by which a gap may differ.
        on: What is tried again: a type of exception, a tuple of them, or ``predicate(exception) -> bool``.

    Raises:
        ValueError: A value is out of its range, or the gaps grow beyond all numbers.
        TypeError: `on` is none of these.
    """

    attempts: int
    delay: float = 0
    factor: float = 2
    max_delay: float | None = None
    jitter: float = 0
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool] = (Exception,)

    def __attrs_post_init__(self) -> None:
        _checked_count("Retry(attempts=...)", self.attempts, at_least=1, hint="; 1 means no retry")
        if self.attempts > MAX_ATTEMPTS:
            raise ValueError(f"Retry(attempts=...) is at most {MAX_ATTEMPTS}, not {self.attempts}")
        _checked_number("Retry(delay=...)", self.delay, hint="; 0 tries again at once")
        _checked_number("Retry(factor=...)", self.factor, at_least=1, hint="; 1 keeps the gaps equal")
        if self.max_delay is not None:
            _checked_number("Retry(max_delay=...)", self.max_delay, hint="; None sets no limit")
        _checked_number("Retry(jitter=...)", self.jitter)
        if self.jitter > 1:
            raise ValueError(
                f"Retry(jitter=...) is a fraction from 0 to 1, not {self.jitter!r}; 0.1 means ten per cent"
            )
        _check_covered(self.on)
        if not math.isfinite(self._gap(max(1, self.attempts - 1))):
            raise ValueError(
                f"Retry(attempts={self.attempts}, delay={self.delay}, factor={self.factor}) grows beyond all numbers; "
                f"give max_delay="
            )

    def covers(self, error: BaseException) -> bool:
        """Whether an error is one that is tried again.

        Raises:
            Exception: Whatever the predicate raised.
            TypeError: The predicate returned no bool.
        """
        if not isinstance(error, Exception):
            return False
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        answer = self.on(error)
        if not isinstance(answer, bool):
            raise TypeError(f"Retry(on={self.on!r}) returned {answer!r} for {error!r}; a predicate returns a bool")
        return answer

    def gap_after(self, attempt: int, delivery_id: str) -> float:
        """Seconds from the failure of an attempt to the next: the same for the same arguments, always.

        Args:
            attempt: The attempt that failed, from 1.
            delivery_id: The delivery.
        """
        gap = self._gap(attempt)
        return gap * (1 + self.jitter * _draw(delivery_id, attempt)) if self.jitter else gap

    def _gap(self, attempt: int) -> float:
        try:
            gap = self.delay * float(self.factor) ** (attempt - 1) if self.delay else 0.0
        except OverflowError:
            gap = math.inf
        return gap if self.max_delay is None else min(gap, self.max_delay)


def _draw(delivery_id: str, attempt: int) -> float:
    """A number from -1 to 1 that depends on nothing but the arguments."""
    digest = hashlib.blake2b(f"{delivery_id}\0{attempt}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / (2**64 - 1) * 2 - 1


def _check_covered(covered: Any) -> None:
    kinds = covered if isinstance(covered, tuple) else (covered,)
    if all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        return
    outside = [kind for kind in kinds if isinstance(kind, type)]
    if outside:
        raise TypeError(
            f"Retry(on=...) names {outside[0].__name__}, which is no kind of Exception; an interrupt, an exit and a "
            f"cancellation are never tried again"
        )
    if isinstance(covered, tuple) or not callable(covered):
        raise TypeError(
            f"Retry(on={covered!r}): give a type of exception, a tuple of types, or predicate(exception) -> bool"
        )
    if inspect.iscoroutinefunction(covered):
        raise TypeError(f"Retry(on={covered!r}): the predicate is a plain function, not an async one")


@attrs.frozen
class RestartIntensity:
    """How many restarts of an executor are normal; one more, and the run fails.

    The window slides: what counts are the restarts of the last `period` seconds. Zero restarts make a failure fail the run.

    Args:
        max_restarts: Restarts allowed within a period; from 0.
        period: Seconds.

    Raises:
        ValueError: A value is out of its range.
    """

    max_restarts: int = 1
    period: float = 5.0

    def __attrs_post_init__(self) -> None:
        _checked_count("RestartIntensity(max_restarts=...)", self.max_restarts, at_least=0)
        _checked_number("RestartIntensity(period=...)", self.period, above=0)

    def recent(self, times: tuple[float, ...], now: float) -> tuple[float, ...]:
        """The restarts that still count.

        Args:
            times: When they were, as times of day.
            now: The time of day. A clock that was set back makes none of them count for longer than a period.
        """
        return tuple(time for time in times if -self.period < now - time < self.period)


@attrs.frozen
class SupervisionPolicy:
    """What watches over an executor's deliveries.

    Args:
        timeout: Seconds that one attempt may take, not counting the time it waits for a turn; None for no limit.
        retry: How often a delivery is tried; None for once.
        on_failure: What a delivery does that failed for good. "fail": the run fails. "drop": the delivery is given up and
            the run goes on. "send": an `ExecutorFailure` goes along the executor's edges. "restart": the executor goes
            back to its last committed state and handles the superstep's deliveries again.
        restarts: How many restarts are normal, for "restart".

    Raises:
        ValueError: A value is out of its range.
        TypeError: `retry` or `restarts` is something else.
    """

    timeout: float | None = None
    retry: Retry | None = None
    on_failure: OnFailure = "fail"
    restarts: RestartIntensity = RestartIntensity()

    def __attrs_post_init__(self) -> None:
        if self.timeout is not None:
            _checked_number("SupervisionPolicy(timeout=...)", self.timeout, above=0, hint="; None sets no limit")
        if not (self.retry is None or isinstance(self.retry, Retry)):
            raise TypeError(f"SupervisionPolicy(retry=...) is a Retry, not {self.retry!r}; give Retry(attempts=...)")
        if self.on_failure not in get_args(OnFailure):
            known = ", ".join(map(repr, get_args(OnFailure)))
            raise ValueError(f"SupervisionPolicy(on_failure=...) is one of {known}, not {self.on_failure!r}")
        if not isinstance(self.restarts, RestartIntensity):
            raise TypeError(
                f"SupervisionPolicy(restarts=...) is a RestartIntensity, not {self.restarts!r}; give "
                f"RestartIntensity(max_restarts=..., period=...)"
            )

    @property
    def is_bare(self) -> bool:
        """Whether nothing differs from having no policy."""
        return self.timeout is None and self.on_failure == "fail" and (self.retry is None or self.retry.attempts == 1)


@attrs.frozen
class RateLimit:
    """At most `limit` attempts begin in any `period` seconds; those beyond it wait for their turn.

    Args:
        limit: Attempts; from 1.
        period: Seconds.

    Raises:
        ValueError: A value is out of its range.
    """

    limit: int
    period: float

    def __attrs_post_init__(self) -> None:
        _checked_count("RateLimit(limit=...)", self.limit, at_least=1)
        _checked_number("RateLimit(period=...)", self.period, above=0)


@attrs.frozen
class ExecutorFailure:
    """A message: an executor with ``on_failure="send"`` could not handle a delivery.

    Attributes:
        executor_id: The executor.
        error_type: Name of the type of the last attempt's exception.
        error_message: What that exception says.
        message: What could not be handled; for an answer to a request, the answer.
        attempts: How often it was tried.
    """

    executor_id: str
    error_type: str
    error_message: str
    message: object
    attempts: int


def check_policy(owner: str, policy: Any, rate_limit: Any = None) -> None:
    """Refuse what is no policy or no rate limit.

    Raises:
        TypeError: It is not.
    """
    if not (policy is None or isinstance(policy, SupervisionPolicy)):
        raise TypeError(f"policy of {owner} is a SupervisionPolicy, not {policy!r}")
    if not (rate_limit is None or isinstance(rate_limit, RateLimit)):
        raise TypeError(f"rate_limit of {owner} is a RateLimit, not {rate_limit!r}; give RateLimit(limit, period)")


def check_limits(max_concurrency: Any, cleanup_grace: Any) -> None:
    """Refuse limits of a workflow that are out of their range.

    Raises:
        ValueError: One is.
    """
    if max_concurrency is not None:
        _checked_count("max_concurrency", max_concurrency, at_least=1, hint="; None sets no limit")
    _checked_number("cleanup_grace", cleanup_grace)

"""Policies are plain data: refused when made if they cannot be followed, and back-off is a pure function of delivery and attempt."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow import Executor, ExecutorFailure, RateLimit, RestartIntensity, Retry, SupervisionPolicy, WorkflowBuilder
from tests.scenarios import Relay

RETRIES = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    delay=st.floats(0, 1e3),
    factor=st.floats(1, 10),
    max_delay=st.none() | st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)


@given(RETRIES, st.integers(1, 50), st.text())
def test_a_gap_is_the_same_every_time_and_within_its_bounds(retry: Retry, attempt: int, delivery_id: str) -> None:
    gap = retry.gap_after(attempt, delivery_id)
    plain = retry.delay * retry.factor ** (attempt - 1) if retry.delay else 0
    capped = plain if retry.max_delay is None else min(plain, retry.max_delay)

    assert gap == attrs.evolve(retry).gap_after(attempt, delivery_id)
    assert gap >= 0
    assert capped * (1 - retry.jitter) * (1 - 1e-9) <= gap <= capped * (1 + retry.jitter) * (1 + 1e-9)


@given(RETRIES, st.text())
def test_without_jitter_gaps_never_shrink(retry: Retry, delivery_id: str) -> None:
    steady = attrs.evolve(retry, jitter=0)
    gaps = [steady.gap_after(attempt, delivery_id) for attempt in range(1, 50)]
    assert gaps == sorted(gaps)


@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(0, 1e6), st.floats(0.1, 100))
def test_only_restarts_of_the_last_period_count(times: list[float], now: float, period: float) -> None:
    recent = RestartIntensity(3, period).recent(tuple(times), now)
    assert all(abs(now - time) < period for time in recent)
    assert [time for time in times if 0 <= now - time < period] == [time for time in recent if time <= now]


def test_jitter_is_spread_over_its_whole_range_and_is_known_for_all_time() -> None:
    retry = Retry(2, delay=10, jitter=0.5)
    gaps = [retry.gap_after(1, f"run-1-{place}") for place in range(1000)]
    assert min(gaps) < 5.1
    assert max(gaps) > 14.9
    assert abs(sum(gaps) / 1000 - 10) < 0.5
    assert retry.gap_after(1, "run-1-0") == pytest.approx(12.617685531805527)  # a replay years later must agree


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", math.nan, 2**21])
def test_attempts_are_a_whole_number_from_one(value: object) -> None:
    with pytest.raises(ValueError, match=r"Retry\(attempts=...\) is .* not "):
        Retry(value)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", True, None])
@pytest.mark.parametrize("name", ["delay", "factor", "max_delay", "jitter"])
def test_numbers_of_a_retry_are_finite_and_not_negative(name: str, value: object) -> None:
    if name == "max_delay" and value is None:
        return
    with pytest.raises(ValueError, match=rf"Retry\({name}=...\) is a finite number from"):
        Retry(3, **{name: value})


def test_what_else_a_retry_refuses_says_the_way_out() -> None:
    with pytest.raises(ValueError, match="1 keeps the gaps equal"):
        Retry(3, factor=0.5)
    with pytest.raises(ValueError, match=r"0\.1 means ten per cent"):
        Retry(3, jitter=10)
    with pytest.raises(ValueError, match="give max_delay="):
        Retry(2000, delay=1)
    assert Retry(2000, delay=1, max_delay=60).gap_after(1999, "x") == 60


@pytest.mark.parametrize(
    "on", [KeyboardInterrupt, (ValueError, BaseException), 3, "ValueError", (ValueError, "x"), (len,)]
)
def test_on_is_a_type_of_exception_a_tuple_of_them_or_a_predicate(on: object) -> None:
    with pytest.raises(TypeError, match=r"Retry\(on="):
        Retry(3, on=on)


def test_an_async_predicate_and_one_that_returns_no_bool_are_refused() -> None:
    async def predicate(error):
        return True

    with pytest.raises(TypeError, match="plain function"):
        Retry(3, on=predicate)
    with pytest.raises(TypeError, match="returns a bool"):
        Retry(3, on=lambda error: 1).covers(ValueError())
    assert Retry(3, on=ValueError).covers(UnicodeError())
    assert not Retry(3, on=lambda error: True).covers(KeyboardInterrupt())


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1", True])
def test_a_timeout_and_a_period_are_above_zero(value: object) -> None:
    for make in (
        lambda: SupervisionPolicy(timeout=value),
        lambda: RestartIntensity(1, value),
        lambda: RateLimit(1, value),
    ):
        with pytest.raises(ValueError, match="is a finite number above 0, not "):
            make()


def test_what_is_no_policy_is_refused_where_it_is_given() -> None:
    with pytest.raises(ValueError, match="'fail', 'drop', 'send', 'restart', not 'ignore'"):
        SupervisionPolicy(on_failure="ignore")
    with pytest.raises(TypeError, match="is a Retry, not 3"):
        SupervisionPolicy(retry=3)
    with pytest.raises(TypeError, match="is a RestartIntensity, not 3"):
        SupervisionPolicy(restarts=3)
    with pytest.raises(ValueError, match=r"RestartIntensity\(max_restarts=...\) is a whole number from 0"):
        RestartIntensity(-1)
    with pytest.raises(ValueError, match=r"RateLimit\(limit=...\) is a whole number from 1"):
        RateLimit(0, 1)
    with pytest.raises(TypeError, match="policy of executor 'x' is a SupervisionPolicy, not 3"):
        Relay("x", policy=3)
    with pytest.raises(TypeError, match="rate_limit of executor 'x' is a RateLimit"):
        Relay("x", rate_limit=3)
    with pytest.raises(TypeError, match="policy of workflow 'w'"):
        WorkflowBuilder(name="w", start_executor=Relay("x"), policy="drop")
    for bad in (0, True, 1.5):
        with pytest.raises(ValueError, match="max_concurrency is a whole number from 1"):
            WorkflowBuilder(name="w", start_executor=Relay("x"), max_concurrency=bad)
    for bad in (-1, math.inf, None):
        with pytest.raises(ValueError, match="cleanup_grace is a finite number from 0"):
            WorkflowBuilder(name="w", start_executor=Relay("x"), cleanup_grace=bad)


def test_otps_defaults_are_the_defaults() -> None:
    assert SupervisionPolicy().restarts == RestartIntensity(max_restarts=1, period=5.0)
    assert issubclass(Relay, Executor)
    assert Relay("x").policy is None


def test_a_failure_is_a_frozen_value() -> None:
    failure = ExecutorFailure("a", "ValueError", "no", "message", 3)
    assert failure == attrs.evolve(failure)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        failure.attempts = 4

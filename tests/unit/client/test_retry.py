"""Whether and when a call is retried, and the state machine of a call (gRFC A6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backendpool.client._retry import (
    CallState,
    PickDecision,
    RetryDecision,
    RetryPolicy,
    RetryThrottle,
    backoff,
    never_sent,
)

TARGET = "ipv4:10.0.0.1:50051"
POLICY = RetryPolicy(3, 0.1, 1.0, 2.0, frozenset({StatusCode.UNAVAILABLE}))


def failure(
    details: str = "", code: StatusCode = StatusCode.UNAVAILABLE, trailing: Metadata | None = None
) -> AioRpcError:
    return AioRpcError(code, Metadata(), trailing or Metadata(), details)


def refused(address: str) -> str:
    return f"failed to connect to all addresses; last error: UNKNOWN: {address}: Failed to connect to remote host: no"


@pytest.mark.parametrize(
    ("error", "proven"),
    [
        (failure(refused(TARGET)), True),
        (failure(refused("ipv4:10.0.0.1:5005")), False),
        (failure(refused("ipv4:10.0.0.9:50051")), False),
        (failure(refused(TARGET), StatusCode.INTERNAL), False),
        (failure("Stream removed (Socket closed)"), False),
        (failure(f"upstream: {refused(TARGET)}"), False),
    ],
)
def test_only_its_own_address_proves_that_a_call_was_not_sent(error: AioRpcError, proven: bool) -> None:
    """A call was never sent if its own backend could not be connected to; another address may come from a server."""
    assert never_sent(error, TARGET) is proven


@given(st.integers(0, 50), st.floats(0.8, 1.2))
def test_backoff_grows_up_to_a_bound(retries: int, jitter: float) -> None:
    """Backoffs grow by the multiplier up to the maximum, with jitter."""
    assert POLICY.backoff(retries, lambda low, high: jitter) == pytest.approx(min(0.1 * 2**retries, 1.0) * jitter)


def test_attempts_are_counted() -> None:
    """Of three attempts two are retries."""
    assert [backoff(POLICY, RetryThrottle(), failure(), attempts) is not None for attempts in (1, 2, 3)] == [
        True,
        True,
        False,
    ]


def test_only_codes_of_the_policy() -> None:
    """A code that the policy does not name is final."""
    assert backoff(POLICY, RetryThrottle(), failure(code=StatusCode.INTERNAL), 1) is None


@pytest.mark.parametrize(("asked", "seconds"), [("250", 0.25), ("0", 0.0), ("-1", None), ("soon", None)])
def test_pushback(asked: str, seconds: float | None) -> None:
    """Pushback sets the pause, or forbids the retry."""
    error = failure(trailing=Metadata(("grpc-retry-pushback-ms", asked)))
    assert backoff(POLICY, RetryThrottle(), error, 1) == seconds


def test_throttle_ends_retries() -> None:
    """At half of the tokens nothing is retried until calls have succeeded again."""
    throttle = RetryThrottle(4, 0.5)
    assert [throttle.record_failure() for _ in range(3)] == [True, False, False]
    for _ in range(4):
        throttle.record_success()
    assert [throttle.record_failure(), throttle.record_failure()] == [False, False]
    for _ in range(100):
        throttle.record_success()
    assert [throttle.record_failure(), throttle.record_failure()] == [True, False]


def test_final_failures_cost_nothing() -> None:
    """A call whose code is not retried costs no token."""
    throttle = RetryThrottle(4, 0.5)
    for _ in range(10):
        backoff(POLICY, throttle, failure(code=StatusCode.INTERNAL), 1)
    assert throttle.record_failure()


@dataclass(eq=False)
class Target:
    """What a call state notes of a backend."""

    calls_started: int = 0
    calls_failed: int = 0
    last_response_at: float = 0.0


def started(policy: RetryPolicy | None = POLICY, deadline: float | None = None) -> tuple[CallState[Target], Target]:
    """A call whose first attempt was sent at 1 s."""
    state: CallState[Target] = CallState(policy, RetryThrottle(), deadline)
    target = Target()
    assert state.backend_picked(target, wait_for_ready=False) is PickDecision.START
    state.attempt_started(target, 1.0)
    return state, target


UNAVAILABLE = failure("not now")
UNSENT = failure(refused(TARGET))
PUSHED_BACK = failure("not now", trailing=Metadata(("grpc-retry-pushback-ms", "4000")))
NOT_RETRIED = failure("not now", trailing=Metadata(("grpc-retry-pushback-ms", "-1")))
ELSEWHERE = RetryDecision(0.0, other_backend=True)


@pytest.mark.parametrize(
    ("error", "policy", "deadline", "repeatable", "retry"),
    [
        (UNSENT, None, None, True, ELSEWHERE),
        (UNSENT, POLICY, 9.0, True, ELSEWHERE),
        (UNSENT, None, None, False, None),
        (UNSENT, None, 2.0, True, None),
        (UNAVAILABLE, None, None, True, None),
        (UNAVAILABLE, POLICY, None, False, None),
        (failure(code=StatusCode.INTERNAL), POLICY, None, True, None),
        (PUSHED_BACK, POLICY, None, True, RetryDecision(4.0)),
        (PUSHED_BACK, POLICY, 6.5, True, RetryDecision(4.0)),
        (PUSHED_BACK, POLICY, 6.0, True, None),
        (NOT_RETRIED, POLICY, None, True, None),
    ],
)
def test_failed_attempt(
    error: AioRpcError,
    policy: RetryPolicy | None,
    deadline: float | None,
    repeatable: bool,
    retry: RetryDecision | None,
) -> None:
    """An attempt that fails at 2 s is retried, or commits the call."""
    state, target = started(policy, deadline)
    assert state.attempt_failed(error, 2.0, TARGET, repeatable=repeatable) == retry
    assert state.committed is (retry is None)
    assert state.tried == (() if retry is None else (target,))
    assert (target.calls_started, target.calls_failed) == (1, 1)


@pytest.mark.parametrize(
    ("code", "heard"),
    [
        (StatusCode.INTERNAL, True),
        (StatusCode.RESOURCE_EXHAUSTED, True),
        (StatusCode.UNAVAILABLE, False),
        (StatusCode.CANCELLED, False),
        (StatusCode.DEADLINE_EXCEEDED, False),
    ],
)
def test_failure_that_is_a_response(code: StatusCode, heard: bool) -> None:
    """Codes that gRPC gives to unanswered calls itself do not show that the backend is responsive."""
    state, target = started()
    state.attempt_failed(failure(code=code), 2.0, TARGET, repeatable=True)
    assert target.last_response_at == (2.0 if heard else 0.0)


def test_response_commits() -> None:
    """After the first part of a response nothing is retried, and a failure is not counted."""
    state, target = started()
    state.response_started(2.0)
    state.response_started(3.0)
    assert target.last_response_at == 2.0
    assert state.attempt_failed(UNSENT, 4.0, TARGET, repeatable=True) is None
    assert target.calls_failed == 0


def test_cancelled_call_is_not_retried() -> None:
    state, target = started()
    state.cancel()
    assert (state.committed, state.cancelled) == (True, True)
    assert state.attempt_failed(UNSENT, 2.0, TARGET, repeatable=True) is None
    assert target.calls_failed == 0


def test_success_returns_tokens_only_with_a_policy() -> None:
    """Methods that are never retried neither use the throttle nor relieve it."""
    for policy, is_relieved in ((POLICY, True), (None, False)):
        throttle = RetryThrottle(4, 3)
        for _ in range(3):
            throttle.record_failure()
        state: CallState[Target] = CallState(policy, throttle)
        state.attempt_started(Target(), 1.0)
        state.response_started(2.0)
        assert throttle.record_failure() is is_relieved


def test_retry_by_policy_may_use_the_same_backend() -> None:
    """A transparent retry may not, unless it waits until the balancer has noticed the lost connection."""
    state, target = started()
    state.attempt_failed(UNAVAILABLE, 2.0, TARGET, repeatable=True)
    assert state.backend_picked(target, wait_for_ready=False) is PickDecision.START
    state, target = started()
    state.attempt_failed(UNSENT, 2.0, TARGET, repeatable=True)
    assert state.backend_picked(Target(), wait_for_ready=False) is PickDecision.START
    assert state.backend_picked(target, wait_for_ready=True) is PickDecision.REPICK
    assert state.tried == ()
    assert state.backend_picked(target, wait_for_ready=True) is PickDecision.START


def test_no_other_backend_commits() -> None:
    """Without ``wait_for_ready`` a transparent retry fails if each backend was tried."""
    state, target = started()
    state.attempt_failed(UNSENT, 2.0, TARGET, repeatable=True)
    assert state.backend_picked(target, wait_for_ready=False) is PickDecision.FAIL
    assert state.committed


def test_stalls_if_nobody_was_answered() -> None:
    """A backend that has answered another call since the attempt was sent is not unresponsive."""
    state, target = started()
    assert state.is_stalled()
    target.last_response_at = 1.5
    assert not state.is_stalled()
    assert not CallState[Target](POLICY, RetryThrottle()).is_stalled()


class Calls(RuleBasedStateMachine):
    """One call over three backends, whose attempts end in any way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.backends = [Target() for _ in range(3)]
        self.in_flight = False
        self.retry: RetryDecision | None = RetryDecision(0.0)
        self.transparent = self.sent = 0

    @initialize(has_policy=st.booleans(), timeout=st.none() | st.floats(0.1, 10.0), wait=st.booleans())
    def begin(self, has_policy: bool, timeout: float | None, wait: bool) -> None:
        self.policy, self.wait = POLICY if has_policy else None, wait
        self.state: CallState[Target] = CallState(self.policy, RetryThrottle(), timeout)

    @precondition(lambda self: self.retry is not None and not self.state.committed)
    @rule(number=st.integers(0, 2))
    def pick(self, number: int) -> None:
        assert self.retry is not None
        untried = [one for one in self.backends if one not in self.state.tried]
        backend = untried[number % len(untried)] if untried else self.backends[number]
        if self.state.backend_picked(backend, wait_for_ready=self.wait) is PickDecision.START:
            # A retry is started within the deadline, and a transparent one elsewhere.
            remaining = self.state.time_remaining(self.now)
            assert remaining is None or remaining > self.retry.pause or self.retry == RetryDecision(0.0)
            assert not self.retry.other_backend or backend not in self.state.tried
            self.now += self.retry.pause
            self.state.attempt_started(backend, self.now)
            self.sent += 1
            self.in_flight, self.retry = True, None

    @precondition(lambda self: self.in_flight)
    @rule(
        error=st.sampled_from([UNAVAILABLE, UNSENT, PUSHED_BACK, NOT_RETRIED, failure(code=StatusCode.INTERNAL)]),
        repeatable=st.booleans(),
        seconds=st.floats(0.0, 1.0),
    )
    def fail(self, error: AioRpcError, repeatable: bool, seconds: float) -> None:
        self.now += seconds
        was_committed = self.state.committed
        self.retry = self.state.attempt_failed(error, self.now, TARGET, repeatable=repeatable)
        self.in_flight = False
        if self.retry is None:
            assert self.state.committed
            return
        assert not was_committed
        assert repeatable
        assert self.retry.other_backend or self.policy is not None
        self.transparent += self.retry.other_backend

    @precondition(lambda self: self.in_flight)
    @rule(seconds=st.floats(0.0, 1.0))
    def respond(self, seconds: float) -> None:
        self.now += seconds
        self.state.response_started(self.now)
        assert self.state.committed

    @rule()
    def cancel(self) -> None:
        self.state.cancel()

    @invariant()
    def attempts_are_bounded(self) -> None:
        """The policy bounds all attempts but those that were never sent."""
        assert self.sent - self.transparent <= (POLICY.max_attempts if self.sent and self.policy else 1)

    @invariant()
    def attempts_are_counted(self) -> None:
        assert sum(one.calls_started for one in self.backends) == self.sent
        assert sum(one.calls_failed for one in self.backends) <= self.sent


TestCalls: Any = Calls.TestCase

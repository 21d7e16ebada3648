"""Retries of one call: the state machine of gRFC A6, without I/O, a clock or an event loop.

A failed attempt is retried for one of two reasons:

- Transparent retry: the call provably never reached a server. It goes to another backend at once, whatever the method.
- Retry policy: any other failure is retried only where a policy allows it, within the throttle of the channel.

The proof of a transparent retry is an error of gRPC's that ends in the address that could not be connected to. The
sentence alone proves nothing, since servers pass on the errors of their own calls, and grpcio does not tell the two
apart; but a server that passes an error on does not name its own address. Refused streams and GOAWAY are retried by
gRPC itself, on a new connection to the same backend; its errors for them may be passed on by a server too, so they
prove nothing. A connection that breaks proves nothing either: the call may have been carried out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from grpc import StatusCode

_PUSHBACK: Final = "grpc-retry-pushback-ms"

_UNANSWERED: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED})
"""Codes that gRPC itself gives to calls that nobody answered; servers may send them as well."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``retryPolicy`` of gRFC A6: up to ``max_attempts`` attempts, the first included; backoffs in seconds."""

    max_attempts: int
    initial_backoff: float
    max_backoff: float
    multiplier: float
    codes: frozenset[StatusCode]

    def backoff(self, retries: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds before the next retry after ``retries`` of them, with the jitter of gRFC A6."""
        return min(self.initial_backoff * self.multiplier**retries, self.max_backoff) * uniform(0.8, 1.2)


IDEMPOTENT: Final = RetryPolicy(
    # A lost node may take more than one backend with it.
    max_attempts=3,
    initial_backoff=0.01,
    max_backoff=0.1,
    multiplier=2.0,
    # A call that reaches a gRPC server just as it stops ends with CANCELLED.
    codes=frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED}),
)
"""Policy of idempotent methods that have none in the service config."""


class RetryThrottle:
    """``retryThrottling`` of gRFC A6, shared by all calls of a channel.

    A failure costs a token, a success returns ``token_ratio`` of one. While half of ``max_tokens`` or less are left,
    nothing is retried. By default, all calls in flight on one backend may fail at once, and a tenth of all calls at any
    time.
    """

    __slots__ = ("_max_tokens", "_token_ratio", "_tokens")

    def __init__(self, max_tokens: float = 1000.0, token_ratio: float = 0.1) -> None:
        self._max_tokens = max_tokens
        self._token_ratio = token_ratio
        self._tokens = max_tokens

    def record_success(self) -> None:
        if self._tokens < self._max_tokens:
            self._tokens = min(self._tokens + self._token_ratio, self._max_tokens)

    def record_failure(self) -> bool:
        """Return whether the failed call may be retried."""
        self._tokens = max(self._tokens - 1.0, 0.0)
        return self._tokens > self._max_tokens / 2


class Failure(Protocol):
    """Status of a failed attempt: the error that ``grpc`` or ``grpc.aio`` raises."""

    def code(self) -> StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Iterable[Any] | None:
        """Pairs of a key and a value."""


def unsent(target: str) -> str:
    """Details of a call that interceptors still held when its backend was removed."""
    return f"the backend {target} was removed before the call was sent"


def never_sent(failure: Failure, target: str) -> bool:
    """Whether ``failure`` proves that the call was not sent to ``target``, an address in gRPC's syntax."""
    details = failure.details() or ""
    return failure.code() is StatusCode.UNAVAILABLE and (
        (details.startswith("failed to connect to all addresses") and f" {target}: " in details)
        or details == unsent(target)
    )


def backoff(policy: RetryPolicy, throttle: RetryThrottle, failure: Failure, attempts: int) -> float | None:
    """Return the seconds to wait before the next attempt; None if the call is not to be retried.

    ``attempts`` counts the attempts so far that a server may have seen.

    A server may ask for its own pause, or for no retry (gRFC A6, pushback).
    """
    if failure.code() not in policy.codes or not throttle.record_failure() or attempts >= policy.max_attempts:
        return None
    pushback = next((value for key, value in failure.trailing_metadata() or () if key == _PUSHBACK), None)
    if pushback is None:
        return policy.backoff(attempts - 1)
    text = str(pushback)
    return int(text) / 1000 if text.isdecimal() else None


class RetryDecision(NamedTuple):
    """Retry in ``pause`` seconds; on an ``other_backend`` only, if the same one would fail in the same way."""

    pause: float
    other_backend: bool = False


FIRST_ATTEMPT: Final = RetryDecision(0.0)


class PickDecision(Enum):
    START = auto()
    """Send the attempt to the backend that was picked."""
    REPICK = auto()
    """Wait until the balancer has noticed lost connections, and pick again."""
    FAIL = auto()
    """No backend is left that the call has not failed to reach."""


class AttemptTarget(Protocol):
    """What a call notes of a backend: attempts, failed attempts, and when it last answered anyone."""

    calls_started: int
    calls_failed: int
    last_response_at: float


B = TypeVar("B", bound=AttemptTarget)


class CallState(Generic[B]):
    """State of one call across its attempts.

    A driver reports each event as it happens and does what the return value says. Times are seconds of one monotonic
    clock. Events of one call must not overlap: a driver with threads holds a lock around each.

    ``committed`` means no further retries (gRFC A6): a response began, or the call failed for good or was cancelled.
    ``backend`` is that of the last attempt, ``tried`` those of all retried ones.
    """

    __slots__ = (
        "_attempts",
        "_policy",
        "_retry",
        "_started_at",
        "_throttle",
        "backend",
        "cancelled",
        "committed",
        "deadline",
        "tried",
    )

    def __init__(self, policy: RetryPolicy | None, throttle: RetryThrottle, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.committed = self.cancelled = False
        self.backend: B | None = None
        self.tried: tuple[B, ...] = ()
        self._policy = policy
        self._throttle = throttle
        self._retry = FIRST_ATTEMPT
        self._attempts = 1  # that may have been sent: transparent retries do not count
        self._started_at = 0.0

    def time_remaining(self, now: float) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - now)

    def backend_picked(self, backend: B, *, wait_for_ready: bool) -> PickDecision:
        """Decide whether the next attempt goes to ``backend``, picked in preference to those in ``tried``."""
        if not self._retry.other_backend or backend not in self.tried:
            return PickDecision.START
        if not wait_for_ready:
            self.committed = True
            return PickDecision.FAIL
        self.tried = ()
        return PickDecision.REPICK

    def attempt_started(self, backend: B, now: float) -> None:
        self.backend = backend
        self._started_at = now
        backend.calls_started += 1

    def response_started(self, now: float) -> None:
        """Commit the call: the first part of a response has arrived, a request was written or a connection made."""
        if self.committed:
            return
        self.committed = True
        if self.backend is not None:
            self.backend.last_response_at = now
        if self._policy is not None:
            self._throttle.record_success()

    def attempt_failed(self, failure: Failure, now: float, target: str, *, repeatable: bool) -> RetryDecision | None:
        """Return how to retry the attempt at ``target``; None commits the call to ``failure``.

        ``repeatable`` is False if the requests cannot be sent again or the channel is closed.
        """
        if self.committed:
            return None
        backend = self.backend
        if backend is not None:
            backend.calls_failed += 1
            if failure.code() not in _UNANSWERED:
                backend.last_response_at = now
            retry = self._decide(failure, target) if repeatable else None
            remaining = self.time_remaining(now)
            # An attempt without time left could only hide why the last one failed.
            if retry is not None and (remaining is None or retry.pause < remaining):
                self._attempts += not retry.other_backend
                self._retry = retry
                self.tried = (*self.tried, backend)
                return retry
        self.committed = True
        return None

    def no_backend(self) -> None:
        """Commit the call to its last failure: there is no backend for another attempt."""
        self.committed = True

    def cancel(self) -> None:
        self.committed = self.cancelled = True

    def is_stalled(self) -> bool:
        """Whether the backend has answered nobody since the attempt was sent (docs/adr/0005).

        To be asked when the stall timer of an attempt fires that is not done. If so, the driver reconnects the backend
        and runs the call's stall callback, which may hedge; the attempt itself goes on.
        """
        return self.backend is not None and self.backend.last_response_at < self._started_at

    def _decide(self, failure: Failure, target: str) -> RetryDecision | None:
        if never_sent(failure, target):
            return RetryDecision(0.0, other_backend=True)
        if self._policy is None:
            return None
        pause = backoff(self._policy, self._throttle, failure, self._attempts)
        return RetryDecision(pause) if pause is not None else None

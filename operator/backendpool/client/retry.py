"""Whether a call that failed is sent again, and when. Pure but for the tokens of a budget.

There are two kinds. A call that provably never left is sent to another backend at once, whoever made it: nobody saw it
(gRFC A6, transparent retries). Any other is sent again only where a policy allows it, within a budget.

What is provable: a call waits in its channel for a connection, and fails with a sentence of gRPC's that ends in the
address that could not be connected to. That sentence alone proves nothing, since servers pass on the errors of their
own calls, and grpcio shows no difference; but a server that passes it on does not name itself. What gRPC knows of
refused streams and of GOAWAY it uses itself, on a new connection to the same backend, and tells in words that a server
may pass on too: no proof. Connections that break prove nothing at all: the call may have been carried out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from grpc import StatusCode
from grpc.aio import AioRpcError

_PUSHBACK: Final = "grpc-retry-pushback-ms"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """gRFC A6's ``retryPolicy``: up to ``max_attempts`` attempts, the first included; backoffs in seconds."""

    max_attempts: int
    initial_backoff: float
    max_backoff: float
    multiplier: float
    codes: frozenset[StatusCode]

    def backoff(self, retries: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds before the next retry after ``retries`` of them, with the jitter of gRFC A6."""
        return min(self.initial_backoff * self.multiplier**retries, self.max_backoff) * uniform(0.8, 1.2)


IDEMPOTENT: Final = RetryPolicy(
    # A node takes more than one backend with it.
    max_attempts=3,
    initial_backoff=0.01,
    max_backoff=0.1,
    multiplier=2.0,
    # A call ends with CANCELLED that reaches a gRPC server just as it stops.
    codes=frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED}),
)
"""For calls that may be carried out twice, where no service config says otherwise."""


class Again(NamedTuple):
    """To be sent again, in ``pause`` seconds; ``elsewhere`` where the same backend would fail the same way."""

    pause: float
    elsewhere: bool = False


class Budget:
    """Retries as long as not too many calls fail: gRFC A6's ``retryThrottling``.

    A failure costs a token, and a success brings ``ratio`` of one; at half of ``maximum`` or less nothing is retried.
    """

    __slots__ = ("_maximum", "_ratio", "_tokens")

    def __init__(self, maximum: float = 1000.0, ratio: float = 0.1) -> None:
        """By default, one backend's calls under way may fail at once, and a tenth of all calls all the time."""
        self._maximum = maximum
        self._ratio = ratio
        self._tokens = maximum

    def succeeded(self) -> None:
        if self._tokens < self._maximum:
            self._tokens = min(self._tokens + self._ratio, self._maximum)

    def failed(self) -> bool:
        """Whether the call that failed may be retried."""
        self._tokens = max(self._tokens - 1.0, 0.0)
        return self._tokens > self._maximum / 2


def unsent(target: str) -> str:
    """The details of a call whose backend left while interceptors still held the call."""
    return f"the backend {target} left before the call was sent"


def never_left(error: AioRpcError, target: str) -> bool:
    """Whether ``error`` proves that its call was not sent to ``target``, given as gRPC writes an address."""
    details = error.details() or ""
    return error.code() is StatusCode.UNAVAILABLE and (
        (details.startswith("failed to connect to all addresses") and f" {target}: " in details)
        or details == unsent(target)
    )


def pause(policy: RetryPolicy, budget: Budget, error: AioRpcError, attempts: int) -> float | None:
    """Seconds until the call that failed with ``error`` is to be sent again; None for never.

    ``attempts`` are those that may have left. The server may ask for a time of its own, or for no retry (gRFC A6,
    pushback).
    """
    if error.code() not in policy.codes or not budget.failed() or attempts >= policy.max_attempts:
        return None
    pushback = (error.trailing_metadata() or {}).get(_PUSHBACK)
    if pushback is None:
        return policy.backoff(attempts - 1)
    text = str(pushback)
    return int(text) / 1000 if text.isdecimal() else None

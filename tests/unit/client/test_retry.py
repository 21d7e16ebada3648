"""Whether a call that failed is sent again."""

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client.retry import Budget, RetryPolicy, never_left, pause

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
def test_only_the_own_address_proves(error: AioRpcError, proven: bool) -> None:
    """A call never left where its own backend could not be connected to; that of another one is a server's tale."""
    assert never_left(error, TARGET) is proven


@given(st.integers(0, 50), st.floats(0.8, 1.2))
def test_backoff_grows_up_to_a_bound(retries: int, jitter: float) -> None:
    """Backoffs grow by the multiplier, up to the most, each within the jitter."""
    assert POLICY.backoff(retries, lambda low, high: jitter) == pytest.approx(min(0.1 * 2**retries, 1.0) * jitter)


def test_attempts_are_counted() -> None:
    """Of three attempts two are retries."""
    assert [pause(POLICY, Budget(), failure(), attempts) is not None for attempts in (1, 2, 3)] == [True, True, False]


def test_only_codes_of_the_policy() -> None:
    """A code that the policy does not name is final."""
    assert pause(POLICY, Budget(), failure(code=StatusCode.INTERNAL), 1) is None


@pytest.mark.parametrize(("asked", "seconds"), [("250", 0.25), ("0", 0.0), ("-1", None), ("soon", None)])
def test_server_says_when(asked: str, seconds: float | None) -> None:
    """A server may ask for a pause of its own, or for no retry."""
    error = failure(trailing=Metadata(("grpc-retry-pushback-ms", asked)))
    assert pause(POLICY, Budget(), error, 1) == seconds


def test_budget_ends_retries() -> None:
    """At half of its tokens nothing is retried, until calls have succeeded again."""
    budget = Budget(4, 0.5)
    assert [budget.failed() for _ in range(3)] == [True, False, False]
    for _ in range(4):
        budget.succeeded()
    assert [budget.failed(), budget.failed()] == [False, False]
    for _ in range(100):
        budget.succeeded()
    assert [budget.failed(), budget.failed()] == [True, False]


def test_final_failures_cost_nothing() -> None:
    """A call whose code is not retried takes nothing of the budget."""
    budget = Budget(4, 0.5)
    for _ in range(10):
        pause(POLICY, budget, failure(code=StatusCode.INTERNAL), 1)
    assert budget.failed()

"""Retry settings of a gRPC service config."""

import json
from typing import Any

import pytest
from grpc import StatusCode

from backendpool.client._retry import RetryPolicy
from backendpool.client._service_config import parse_service_config
from backendpool.errors import SettingsError

RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", 10],
}
POLICY = RetryPolicy(4, 0.1, 1.0, 2.0, frozenset({StatusCode.UNAVAILABLE, StatusCode.ABORTED}))


def config(*entries: Any, **rest: Any) -> str:
    return json.dumps({"methodConfig": entries, **rest})


def test_most_specific_entry() -> None:
    """The entry of a method precedes that of its service, and that the default; an entry may disable retries."""
    parsed = parse_service_config(
        config(
            {"name": [{"service": "a.B", "method": "C"}]},
            {"name": [{"service": "a.B"}], "retryPolicy": RETRY},
            {"name": [{}], "retryPolicy": {**RETRY, "maxAttempts": 9}},
        )
    )
    assert parsed.policy("/a.B/C") is None
    assert parsed.policy("/a.B/D") == POLICY
    other = parsed.policy("/x.Y/Z")
    assert other is not None
    assert other.max_attempts == 5


def test_nothing_configured() -> None:
    """A method without an entry has no policy."""
    parsed = parse_service_config("{}")
    assert (parsed.policy("/a.B/C"), parsed.throttle) == (None, None)


def test_throttling() -> None:
    """``retryThrottling`` sets the tokens of the throttle."""
    throttle = parse_service_config(config(retryThrottling={"maxTokens": 2, "tokenRatio": 0.1})).throttle
    assert throttle is not None
    assert not throttle.record_failure()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "service config"),
        ("[]", "service config"),
        (config({"retryPolicy": RETRY}), "name"),
        (config({"name": [{"method": "C"}]}), "has no service"),
        (config({"name": [{}], "retryPolicy": {**RETRY, "maxAttempts": 1}}), "maxAttempts must be 2 or more"),
        (config({"name": [{}], "retryPolicy": {**RETRY, "maxBackoff": "1"}}), "invalid duration"),
        (config({"name": [{}], "retryPolicy": {**RETRY, "retryableStatusCodes": ["LATE"]}}), "LATE"),
        (
            config({"name": [{}], "retryPolicy": {**RETRY, "retryableStatusCodes": []}}),
            "retryableStatusCodes not empty",
        ),
        (config({"name": [{}], "retryPolicy": {"maxAttempts": 2}}), "initialBackoff"),
        (config(retryThrottling={"maxTokens": 0, "tokenRatio": 1}), "maxTokens"),
    ],
)
def test_mistakes_are_reported(text: str, told: str) -> None:
    """An invalid service config raises an error that names the mistake."""
    with pytest.raises(SettingsError, match=told):
        parse_service_config(text)

"""The operator's settings."""

import socket

import pytest

from backendpool.controller.settings import OperatorSettings
from backendpool.errors import SettingsError

IMAGE = {"LOOKASIDE_IMAGE": "backendpool/operator:1.2.3"}


def test_image_alone_is_enough() -> None:
    """Only the image is required; the defaults are all namespaces, port 9090, the host's name and no election."""
    settings = OperatorSettings.from_env(IMAGE)
    assert settings == OperatorSettings("backendpool/operator:1.2.3", (), 9090, socket.gethostname(), "")


def test_everything_can_be_set() -> None:
    """Namespaces may be separated by commas and spaces; duplicates count once."""
    env = {
        **IMAGE,
        "WATCH_NAMESPACES": "shop, web,shop,",
        "METRICS_PORT": "0",
        "POD_NAME": "operator-7d9",
        "LEASE_NAMESPACE": "backendpool-system",
        "MAX_ROLLOUTS": "20",
    }
    assert OperatorSettings.from_env(env) == OperatorSettings(
        IMAGE["LOOKASIDE_IMAGE"], ("shop", "web"), 0, "operator-7d9", "backendpool-system", 20
    )


def test_empty_is_as_unset() -> None:
    """An empty variable means its default."""
    empty = dict.fromkeys(("WATCH_NAMESPACES", "METRICS_PORT", "POD_NAME", "LEASE_NAMESPACE", "MAX_ROLLOUTS"), "")
    assert OperatorSettings.from_env(IMAGE | empty) == OperatorSettings.from_env(IMAGE)


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"LOOKASIDE_IMAGE": ""}, "LOOKASIDE_IMAGE is not set: expected the image"),
        ({"METRICS_PORT": "http"}, "invalid METRICS_PORT 'http': expected a port number from 0 to 65535"),
        ({"METRICS_PORT": "65536"}, "invalid METRICS_PORT '65536': expected a port number from 0 to 65535"),
        ({"METRICS_PORT": "-1"}, "invalid METRICS_PORT '-1': expected a port number from 0 to 65535"),
        ({"WATCH_NAMESPACES": "shop,*"}, "invalid WATCH_NAMESPACES: '\\*' is no namespace"),
        ({"WATCH_NAMESPACES": "Shop"}, "invalid WATCH_NAMESPACES: 'Shop' is no namespace"),
        ({"WATCH_NAMESPACES": "x" * 64}, "is no namespace; expected names separated by commas"),
        ({"LEASE_NAMESPACE": "a/b"}, "invalid LEASE_NAMESPACE: 'a/b' is no namespace"),
        ({"MAX_ROLLOUTS": "0"}, "invalid MAX_ROLLOUTS '0': expected a whole number from 1 to 1000"),
        ({"MAX_ROLLOUTS": "many"}, "invalid MAX_ROLLOUTS 'many': expected a whole number from 1 to 1000"),
        ({"LEASE_NAMESPACE": "a,b"}, "invalid LEASE_NAMESPACE: expected at most one namespace, got 2"),
    ],
)
def test_invalid_value_is_rejected(env: dict[str, str], problem: str) -> None:
    """The error names the variable and the expected value."""
    with pytest.raises(SettingsError, match=f"{problem}"):
        OperatorSettings.from_env(IMAGE | env)

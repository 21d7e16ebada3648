"""The lookaside's settings."""

import pytest

from backendpool.errors import SettingsError
from backendpool.lookaside.settings import LookasideSettings

LEAST = {"POOL_NAME": "greetserver", "POOL_NAMESPACE": "default"}


def test_ports_have_defaults() -> None:
    """Only the pool and its namespace are required."""
    assert LookasideSettings.from_env(LEAST) == LookasideSettings("greetserver", "default", 50055, 9090)


def test_ports_come_from_the_environment() -> None:
    """The environment sets both ports."""
    settings = LookasideSettings.from_env(LEAST | {"LOOKASIDE_PORT": "1", "METRICS_PORT": "65535"})
    assert (settings.port, settings.metrics_port) == (1, 65535)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"POOL_NAME": ""}, "POOL_NAME is not set: expected the name of the GrpcBackendPool"),
        ({"POOL_NAMESPACE": ""}, "POOL_NAMESPACE is not set: expected the namespace of the GrpcBackendPool"),
        ({"POOL_NAME": "a,b!=c"}, "invalid POOL_NAME 'a,b!=c': expected the name"),
        ({"LOOKASIDE_PORT": "x"}, "invalid LOOKASIDE_PORT 'x': expected a port"),
        ({"METRICS_PORT": "65536"}, "invalid METRICS_PORT '65536': expected a port"),
    ],
)
def test_invalid_settings_are_errors(change: dict[str, str], sentence: str) -> None:
    """The error names the variable and the expected value."""
    with pytest.raises(SettingsError) as raised:
        LookasideSettings.from_env(LEAST | change)
    assert sentence in str(raised.value)

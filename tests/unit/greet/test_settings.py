"""Settings of the server and the gateway."""

from collections.abc import Mapping

import pytest

from backendpool.errors import SettingsError
from greet.settings import GatewaySettings, Mode, ServerSettings


def test_server_reads_the_environment() -> None:
    """Each environment variable sets its own field."""
    env = {
        "GRPC_PORT": "1",
        "POD_NAME": "pod",
        "POD_IP": "192.0.2.1",
        "GREET_DELAY_SECONDS": "0.5",
        "DRAIN_SECONDS": "2",
        "GRACE_SECONDS": "3",
    }
    assert ServerSettings.from_env(env) == ServerSettings("pod", "192.0.2.1", "", 1, 0.5, 2, 3)


def test_gateway_reads_the_environment() -> None:
    """Each environment variable sets its own field."""
    env = {
        "GATEWAY_MODE": "lookaside",
        "GATEWAY_PORT": "1",
        "GRPC_SERVER_HOST": "host",
        "GRPC_SERVER_PORT": "2",
        "GRPC_SVC": "svc",
        "POD_NAMESPACE": "ns",
        "LB_SVC_NAME": "lb",
        "LB_PORT": "3",
        "GREET_TIMEOUT_SECONDS": "1.5",
        "DRAIN_SECONDS": "0",
        "GRACE_SECONDS": "4",
    }
    assert GatewaySettings.from_env(env) == GatewaySettings(
        Mode.LOOKASIDE, "", 1, "host", 2, "svc", "ns", "lb", 3, 1.5, 0, 4
    )


@pytest.mark.parametrize("env", [{}, {"GATEWAY_PORT": "", "GRPC_SVC": "", "GATEWAY_MODE": ""}])
def test_unset_and_empty_mean_the_default(env: Mapping[str, str]) -> None:
    """An empty variable means the default, as an unset one does."""
    assert GatewaySettings.from_env({**env, "POD_NAMESPACE": "ns"}) == GatewaySettings(namespace="ns")
    assert ServerSettings.from_env({"POD_NAME": "pod"}) == ServerSettings("pod")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"GATEWAY_MODE": "magic"}, "invalid GATEWAY_MODE 'magic': expected one of sticky, dns, lookaside, pool"),
        ({"GATEWAY_PORT": "http"}, "invalid GATEWAY_PORT 'http': expected a port number"),
        ({"GRPC_SERVER_PORT": "tcp://10.0.0.1:50051"}, "invalid GRPC_SERVER_PORT 'tcp://10.0.0.1:50051'"),
        ({"LB_PORT": "65536"}, "invalid LB_PORT '65536'"),
        ({"POD_NAMESPACE": ""}, "POD_NAMESPACE is not set: mode pool needs"),
        ({"GATEWAY_MODE": "xds", "POD_NAMESPACE": ""}, "POD_NAMESPACE is not set: mode xds needs"),
        ({"GATEWAY_MODE": "xds"}, "GRPC_XDS_BOOTSTRAP is not set: mode xds needs the bootstrap.json"),
        (
            {"GREET_TIMEOUT_SECONDS": "0"},
            "invalid GREET_TIMEOUT_SECONDS '0': expected a number of seconds above 0 to 3600",
        ),
        ({"DRAIN_SECONDS": "-1"}, "invalid DRAIN_SECONDS '-1': expected a number of seconds from 0 to 3600"),
        ({"GRACE_SECONDS": "nan"}, "invalid GRACE_SECONDS 'nan'"),
        ({"GRACE_SECONDS": "inf"}, "invalid GRACE_SECONDS 'inf'"),
        ({"GRACE_SECONDS": "long"}, "invalid GRACE_SECONDS 'long'"),
    ],
)
def test_unusable_setting_is_named(env: Mapping[str, str], message: str) -> None:
    """The error names the variable, its value and the expected values."""
    with pytest.raises(SettingsError) as caught:
        GatewaySettings.from_env({"POD_NAMESPACE": "ns", **env})
    assert str(caught.value).startswith(message)


def test_sticky_and_dns_need_no_namespace() -> None:
    """Only the modes that use a pool require a namespace."""
    for mode in (Mode.STICKY, Mode.DNS):
        assert GatewaySettings.from_env({"GATEWAY_MODE": mode}).namespace == ""

"""The xDS bootstrap file."""

from __future__ import annotations

import pytest

from backendpool.api.pool import xds_target
from backendpool.children.xds_bootstrap import bootstrap
from backendpool.errors import SpecError
from tests.fakes.objects import parsed_pool

TLS = {"tls": {"secretName": "greet-tls"}}


def test_client_is_led_to_every_server_of_the_lookaside() -> None:
    """The server URI uses DNS, so clients get all addresses; credentials are plaintext without TLS."""
    assert bootstrap(parsed_pool(lookaside={"port": 6000})) == {
        "xds_servers": [
            {
                "server_uri": "dns:///greetserver-lookaside.default.svc:6000",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "greetserver.default", "cluster": "backendpool", "locality": {}},
    }
    assert xds_target(parsed_pool()) == "xds:///greetserver.default"


def test_client_says_where_it_is() -> None:
    """The bootstrap can hold the client's zone."""
    assert bootstrap(parsed_pool(), "a")["node"]["locality"] == {"zone": "a"}


def test_client_has_no_second_choice_than_tls() -> None:
    """With TLS, "insecure" is not among the credentials, so clients cannot fall back to it."""
    (server,) = bootstrap(parsed_pool(lookaside=TLS))["xds_servers"]
    assert server["channel_creds"] == [
        {
            "type": "tls",
            "config": {
                "ca_certificate_file": "/var/run/secrets/backendpool.io/greetserver/ca.crt",
                "certificate_file": "/var/run/secrets/backendpool.io/greetserver/tls.crt",
                "private_key_file": "/var/run/secrets/backendpool.io/greetserver/tls.key",
                "refresh_interval": "60s",
            },
        }
    ]


def test_client_without_a_certificate_trusts_all_the_same() -> None:
    """Without a client certificate, the CA is still verified."""
    (server,) = bootstrap(parsed_pool(lookaside=TLS), certificate=False)["xds_servers"]
    (credentials,) = server["channel_creds"]
    assert credentials["config"].keys() == {"ca_certificate_file", "refresh_interval"}


def test_bad_spec_has_no_bootstrap() -> None:
    """An invalid spec gives no bootstrap."""
    with pytest.raises(SpecError, match=r"spec\.port"):
        bootstrap(parsed_pool(port=None))

"""Mutual TLS of the lookaside: client certificates, unusable Secrets, and certificate renewal."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from tests.e2e.support import xds_clients
from tests.e2e.support.gateways import NAME, gateway, url
from tools.certificates import Authority
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, traffic

pytestmark = pytest.mark.long

SECRET = "greet-tls"
CLIENT = "greet-client-tls"
FOLDER = "/var/run/secrets/backendpool.io/greetserver"
LOOKASIDE = "deployment/greetserver-lookaside"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates") / "pools")


def secret(namespace: str, name: str, **files: bytes) -> dict[str, Any]:
    """Return a Secret. The names of ``files`` have an underscore instead of a dot, such as ``tls_crt``."""
    data = {key.replace("_", "."): b64encode(content).decode() for key, content in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "data": data}


def of_server(authority: Authority, namespace: str) -> dict[str, Any]:
    """Return the lookaside's Secret, with the keys that cert-manager uses."""
    chain, key = authority.issue(f"greetserver-lookaside.{namespace}.svc")
    return secret(namespace, SECRET, tls_crt=chain, tls_key=key, ca_crt=authority.certificate)


def of_client(authority: Authority, namespace: str) -> dict[str, Any]:
    chain, key = authority.issue("client")
    return secret(namespace, CLIENT, tls_crt=chain, tls_key=key, ca_crt=authority.certificate)


def problem(kubectl: Kubectl, namespace: str) -> str:
    """Return the message of the condition LookasideAvailable while it is False, else an empty string."""
    condition = pools.condition(pools.read(kubectl, namespace), "LookasideAvailable")
    return str(condition.get("message", "")) if condition.get("status") == "False" else ""


def test_secret_that_is_missing_or_broken_is_told(
    kubectl_with_operator: Kubectl, namespace: str, authority: Authority
) -> None:
    """A condition reports a missing or invalid Secret; the lookaside starts once the Secret is valid."""
    kubectl_with_operator.apply(
        pools.backends(namespace, 1), pools.pool(namespace, lookaside={"tls": {"secretName": SECRET}})
    )
    eventually(
        "the condition of the missing Secret",
        lambda: f"there is a Secret {SECRET} with tls.crt and tls.key" in problem(kubectl_with_operator, namespace),
    )
    broken = of_server(authority, namespace)
    broken["data"]["tls.key"] = b64encode(b"no key").decode()
    kubectl_with_operator.apply(broken)
    eventually(
        "the condition of the invalid Secret",
        lambda: "invalid tls.crt and tls.key" in problem(kubectl_with_operator, namespace),
        timeout=400,
    )
    condition = pools.condition(pools.read(kubectl_with_operator, namespace), "LookasideAvailable")
    assert condition["reason"] == "LookasideUnavailable"
    kubectl_with_operator.apply(of_server(authority, namespace))
    kubectl_with_operator("rollout", "restart", LOOKASIDE, f"--namespace={namespace}")
    pools.wait_ready(kubectl_with_operator, namespace, timeout=400)


def test_calls_by_a_lookaside_that_knows_its_clients(
    kubectl_with_operator: Kubectl, namespace: str, authority: Authority, go_client: str
) -> None:
    """With mutual TLS, only clients with a certificate are served, and a renewed certificate breaks no stream."""
    kubectl_with_operator.apply(
        of_server(authority, namespace),
        of_client(authority, namespace),
        pools.backends(namespace),
        pools.pool(namespace, lookaside={"tls": {"secretName": SECRET}}),
    )
    pools.wait_ready(kubectl_with_operator, namespace, timeout=400)
    xds = {"/etc/xds": "greetserver-xds"}
    env = {"GATEWAY_MODE": "xds", "GRPC_XDS_BOOTSTRAP": "/etc/xds/bootstrap.json"}
    stranger = env | {"GRPC_XDS_BOOTSTRAP": "/etc/xds/bootstrap-without-certificate.json"}
    kubectl_with_operator.apply(
        *gateway(namespace, env, config_maps=xds, secrets={FOLDER: CLIENT}),
        *gateway(namespace, stranger, name="stranger", config_maps=xds, secrets={FOLDER: CLIENT}),
    )
    kubectl_with_operator.rollout(namespace, f"deployment/{NAME}", "deployment/stranger")
    refused = traffic.calls(kubectl_with_operator, namespace, 5, url=url("stranger"))
    assert (refused.ok, refused.failed) == (0, 5), refused
    eventually("an answer through the gateway", lambda: traffic.answering(kubectl_with_operator, namespace))
    with (
        traffic.load(kubectl_with_operator, namespace, rate=20) as load,
        xds_clients.load_by_go(
            kubectl_with_operator, namespace, go_client, secrets={FOLDER: CLIENT}, rate=20
        ) as load_in_go,
    ):
        before = _certificates(kubectl_with_operator, namespace)
        kubectl_with_operator.apply(of_server(authority, namespace))
        _have_mounts_looked_at(kubectl_with_operator, namespace)
        eventually(
            "the renewed certificates in the pods",
            lambda: _certificates(kubectl_with_operator, namespace) != before,
            timeout=400,
        )
        kubectl_with_operator.apply(*gateway(namespace, env, name="later", config_maps=xds, secrets={FOLDER: CLIENT}))
        kubectl_with_operator.rollout(namespace, "deployment/later")
        eventually(
            "answers from all three pods to a later client",
            lambda: traffic.answering(kubectl_with_operator, namespace, url=url("later")) == 3,
        )
        pools.scale(kubectl_with_operator, namespace, 4)
        pools.wait_for_count(kubectl_with_operator, namespace, 4)
        summaries = load.stop(), load_in_go.stop()
    for summary in summaries:
        assert summary.failed == 0, summary.errors
        assert len(summary.pods) == 4


def _have_mounts_looked_at(kubectl: Kubectl, namespace: str) -> None:
    """Annotate the pods, so that the kubelet syncs them and their Secrets now and not only once a minute."""
    which = (f"--selector={pools.LOOKASIDES}", f"--namespace={namespace}")
    kubectl("annotate", "pods", *which, "example.com/changed=true")


def _certificates(kubectl: Kubectl, namespace: str) -> str:
    """Return the certificates that the replicas have mounted."""
    program = "print(open('/var/run/secrets/backendpool.io/tls/tls.crt').read())"
    names = (pod["metadata"]["name"] for pod in kubectl.reader.pods(namespace, pools.LOOKASIDES))
    read = (kubectl("exec", name, f"--namespace={namespace}", "--", "python", "-c", program) for name in names)
    return "".join(one.stdout for one in read)

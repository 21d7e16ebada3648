"""The manifests that a pool is made of."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from backendpool.api.constants import DIGEST_ANNOTATION, POOL_LABEL
from backendpool.children.desired import children
from backendpool.children.manifest import Child, digest
from backendpool.children.xds_bootstrap import bootstrap
from backendpool.errors import SpecError
from tests.fakes.pools import CRD_FILE, SELECTOR, pool

IMAGE = "backendpool/operator:dev"

LOOKASIDE = {
    ("ServiceAccount", "greetserver-lookaside"),
    ("Role", "greetserver-lookaside"),
    ("RoleBinding", "greetserver-lookaside"),
    ("Deployment", "greetserver-lookaside"),
    ("Service", "greetserver-lookaside"),
    ("PodDisruptionBudget", "greetserver-lookaside"),
    ("ConfigMap", "greetserver-xds"),
}
TLS = {"tls": {"secretName": "greet-tls"}}
READER = {("Role", "greetserver-reader"), ("RoleBinding", "greetserver-reader")}


def made(name: str = "greetserver", **spec: Any) -> dict[tuple[str, str], Child]:
    """The children of a pool, by kind and name."""
    return {(child["kind"], child["metadata"]["name"]): child for child in children(pool(name, **spec), IMAGE)}


def pod_of(**spec: Any) -> dict[str, Any]:
    template: dict[str, Any] = made(**spec)["Deployment", "greetserver-lookaside"]["spec"]["template"]
    return template


def container_of(**spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(**spec)["spec"]["containers"][0]
    return container


def test_pool_is_made_of_these() -> None:
    """A headless Service and a whole lookaside, and nothing else unless it is asked for."""
    assert made().keys() == {("Service", "greetserver"), *LOOKASIDE}


def test_readers_get_a_role() -> None:
    """Naming a reader adds what lets it read."""
    assert made(readers=[{"serviceAccount": "gateway"}]).keys() == {("Service", "greetserver"), *LOOKASIDE, *READER}


def test_no_replicas_means_no_lookaside() -> None:
    """Without a lookaside nothing of it stands about, its rights least of all."""
    assert made(lookaside={"replicas": 0}).keys() == {("Service", "greetserver")}


def test_single_replica_has_no_budget() -> None:
    """A budget could only block the draining of its node."""
    assert made(lookaside={"replicas": 1}).keys() == {
        ("Service", "greetserver"),
        *(LOOKASIDE - {("PodDisruptionBudget", "greetserver-lookaside")}),
    }


def test_bad_spec_makes_no_children() -> None:
    """Nothing is made of a spec that is not understood."""
    with pytest.raises(SpecError, match=r"spec\.policy"):
        children(pool(policy="Newer"), IMAGE)


def test_every_child_is_owned_and_labelled() -> None:
    """Garbage collection and selectors find each child by its pool, and no finalizer is needed."""
    for child in made(readers=[{"serviceAccount": "gateway"}]).values():
        metadata = child["metadata"]
        assert metadata["namespace"] == "default"
        assert metadata["labels"][POOL_LABEL] == "greetserver"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "backendpool-operator"
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "backendpool.io/v1alpha1",
                "kind": "GrpcBackendPool",
                "name": "greetserver",
                "uid": "pool-uid",
                "controller": True,
            }
        ]


@pytest.mark.parametrize(("port", "number"), [(8080, 8080), ("grpc-port", 50051)])
def test_headless_service_leads_to_the_pods_port(port: int | str, number: int) -> None:
    """The target is the pods' port as the author gave it; a name is resolved pod by pod."""
    assert made(port=port)["Service", "greetserver"]["spec"] == {
        "type": "ClusterIP",
        "clusterIP": "None",
        "ipFamilyPolicy": "SingleStack",
        "selector": SELECTOR,
        "ports": [
            {
                "name": "grpc",
                "port": number,
                "protocol": "TCP",
                "targetPort": port,
                "appProtocol": "kubernetes.io/h2c",
            }
        ],
    }


def test_lookaside_service_leads_to_its_pods() -> None:
    """The Service's selector, the Deployment's and the budget's are the labels of the pods."""
    these = made(lookaside={"port": 6000})
    service = these["Service", "greetserver-lookaside"]["spec"]
    labels = pod_of()["metadata"]["labels"]
    assert service["selector"] == labels
    assert these["Deployment", "greetserver-lookaside"]["spec"]["selector"] == {"matchLabels": labels}
    assert these["PodDisruptionBudget", "greetserver-lookaside"]["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": labels},
    }
    assert service["clusterIP"] == "None", "clients are to know each server's address"
    (port,) = service["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("grpc", 6000, "grpc")
    assert port["appProtocol"] == "kubernetes.io/h2c"


@pytest.mark.parametrize(
    "selector",
    [
        {"app.kubernetes.io/name": "greetserver"},
        {"app.kubernetes.io/instance": "greetserver"},
        {"app.kubernetes.io/name": "backendpool"},
        {"app": "greetserver"},
        {"run": "greetserver"},
    ],
)
def test_lookaside_is_no_backend_of_its_pool(selector: dict[str, str]) -> None:
    """Labels that an author may well select by do not find the lookaside's pods."""
    assert not selector.items() <= pod_of(selector=selector)["metadata"]["labels"].items()


def test_pools_have_each_their_own_lookaside() -> None:
    """The pods of one pool's lookaside are not those of another's."""
    one = made("one")["Deployment", "one-lookaside"]["spec"]["selector"]
    two = made("two")["Deployment", "two-lookaside"]["spec"]["selector"]
    assert one != two


def test_lookaside_program_is_told_what_to_serve() -> None:
    """Command, image, settings and ports are those of the lookaside program."""
    container = container_of(lookaside={"port": 6000})
    assert container["image"] == IMAGE
    assert container["command"] == ["backendpool", "lookaside"]
    assert {item["name"]: item["value"] for item in container["env"]} == {
        "POOL_NAME": "greetserver",
        "POOL_NAMESPACE": "default",
        "LOOKASIDE_PORT": "6000",
        "METRICS_PORT": "9090",
    }
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"grpc": 6000, "metrics": 9090}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def test_bootstrap_lies_ready_for_xds_clients() -> None:
    """A pod that mounts the ConfigMap has a file that leads it to the lookaside."""
    data = made(lookaside={"port": 6000})["ConfigMap", "greetserver-xds"]["data"]
    assert json.loads(data["bootstrap.json"]) == bootstrap(pool(lookaside={"port": 6000}))
    assert data.keys() == {"bootstrap.json"}


def test_certificate_is_mounted_and_told_of() -> None:
    """The Secret's certificate and key must be there, its CA may be; the program is told where."""
    container = container_of(lookaside=TLS)
    (mount,) = container["volumeMounts"]
    (volume,) = pod_of(lookaside=TLS)["spec"]["volumes"]
    needed, wished = (source["secret"] for source in volume["projected"]["sources"])
    assert (mount["name"], mount["readOnly"]) == (volume["name"], True)
    assert {"name": "LOOKASIDE_TLS_FOLDER", "value": mount["mountPath"]} in container["env"]
    assert {needed["name"], wished["name"]} == {"greet-tls"}
    assert [item["path"] for item in needed["items"]] == ["tls.crt", "tls.key"]
    assert ([item["path"] for item in wished["items"]], wished["optional"]) == (["ca.crt"], True)


def test_clients_of_a_tls_lookaside_are_told_so() -> None:
    """The bootstraps follow, with and without a certificate of the client; no mesh takes the port for plain HTTP/2."""
    these = made(lookaside=TLS)
    data = these["ConfigMap", "greetserver-xds"]["data"]
    assert json.loads(data["bootstrap.json"]) == bootstrap(pool(lookaside=TLS))
    assert json.loads(data["bootstrap-without-certificate.json"]) == bootstrap(pool(lookaside=TLS), certificate=False)
    assert "appProtocol" not in these["Service", "greetserver-lookaside"]["spec"]["ports"][0]


def test_pod_meets_the_restricted_standard() -> None:
    """The pods are let into a namespace that enforces ``restricted``, and cannot write to their disk."""
    security = pod_of()["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container_of()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_token_is_mounted_by_the_pod_alone() -> None:
    """The account does not hand its token to whatever else runs under it."""
    assert made()["ServiceAccount", "greetserver-lookaside"]["automountServiceAccountToken"] is False
    assert pod_of()["spec"]["automountServiceAccountToken"] is True


def test_rollout_never_has_fewer_servers() -> None:
    """A new server is ready before an old one goes."""
    spec = made()["Deployment", "greetserver-lookaside"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_servers_spread_over_nodes_and_zones() -> None:
    """They are kept apart where the cluster has room, and run on one node where it has not."""
    spread = pod_of()["spec"]["topologySpreadConstraints"]
    assert {item["topologyKey"] for item in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert {item["whenUnsatisfiable"] for item in spread} == {"ScheduleAnyway"}
    assert all(item["labelSelector"]["matchLabels"] == pod_of()["metadata"]["labels"] for item in spread)


def test_resources_are_the_authors() -> None:
    """What the author gives is taken as a whole, not mixed with defaults."""
    assert container_of()["resources"] == {
        "requests": {"cpu": "20m", "memory": "96Mi"},
        "limits": {"memory": "256Mi"},
    }
    given = {"limits": {"memory": "1Gi"}, "requests": {}}
    assert container_of(lookaside={"resources": given})["resources"] == {"limits": {"memory": "1Gi"}}
    assert "resources" not in container_of(lookaside={"resources": {}})


def test_lookaside_may_read_slices_and_its_pool() -> None:
    """Its rules are what its watches need."""
    these = made()
    assert these["Role", "greetserver-lookaside"]["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["backendpool.io"],
            "resources": ["grpcbackendpools"],
            "resourceNames": ["greetserver"],
            "verbs": ["list", "watch"],
        },
    ]
    binding = these["RoleBinding", "greetserver-lookaside"]
    assert binding["roleRef"]["name"] == "greetserver-lookaside"
    assert [subject["name"] for subject in binding["subjects"]] == ["greetserver-lookaside"]


def test_readers_may_read_this_one_pool() -> None:
    """The rule names the pool, and the subjects are accounts of its own namespace, sorted, each once."""
    these = made(readers=[{"serviceAccount": "b"}, {"serviceAccount": "a"}, {"serviceAccount": "b"}])
    assert these["Role", "greetserver-reader"]["rules"] == [
        {
            "apiGroups": ["backendpool.io"],
            "resources": ["grpcbackendpools"],
            "resourceNames": ["greetserver"],
            "verbs": ["get", "list", "watch"],
        }
    ]
    assert these["RoleBinding", "greetserver-reader"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "a", "namespace": "default"},
        {"kind": "ServiceAccount", "name": "b", "namespace": "default"},
    ]


def test_longest_pool_name_leaves_room_for_the_childrens() -> None:
    """A name that the CRD lets through makes no name or label that the API server refuses."""
    limit = re.search(r"self\.metadata\.name\.size\(\) <= (\d+) ", CRD_FILE.read_text())
    assert limit
    for (_, name), child in made("p" * int(limit[1]), readers=[{"serviceAccount": "a"}]).items():
        assert len(name) <= 63
        assert all(len(value) <= 63 for value in child["metadata"]["labels"].values())


def test_what_others_refer_to_is_made_first() -> None:
    """An account stands before its binding, and both before the pods that need them."""
    kinds = [child["kind"] for child in children(pool(), IMAGE)]
    assert kinds.index("ServiceAccount") < kinds.index("RoleBinding") < kinds.index("Deployment")
    assert kinds.index("Role") < kinds.index("RoleBinding")


def test_manifests_are_the_same_each_time() -> None:
    """A restarted operator wants just what the one before it wanted."""
    assert children(pool(), IMAGE) == children(pool(), IMAGE)


def test_digest_names_the_content() -> None:
    """A child whose content changes has another digest, and the others keep theirs."""
    old, new = made(), made(lookaside={"replicas": 3})
    changed = {ref for ref in old if _digest_of(old[ref]) != _digest_of(new[ref])}
    assert changed == {("Deployment", "greetserver-lookaside")}


def test_digest_does_not_depend_on_order() -> None:
    """Two ways to write one manifest are one content."""
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"b": [1, 2]}) != digest({"b": [2, 1]})


def _digest_of(child: Child) -> str:
    return str(child["metadata"]["annotations"][DIGEST_ANNOTATION])

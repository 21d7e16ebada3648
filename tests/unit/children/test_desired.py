"""The desired children of a pool."""

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
from tests.fakes.crd import CRD_FILE
from tests.fakes.objects import SELECTOR, parsed_pool

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
    """Return the children by kind and name."""
    return {(child["kind"], child["metadata"]["name"]): child for child in children(parsed_pool(name, **spec), IMAGE)}


def pod_of(**spec: Any) -> dict[str, Any]:
    template: dict[str, Any] = made(**spec)["Deployment", "greetserver-lookaside"]["spec"]["template"]
    return template


def container_of(**spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(**spec)["spec"]["containers"][0]
    return container


def test_pool_is_made_of_these() -> None:
    """A pool has a headless Service and a lookaside, and nothing else by default."""
    assert made().keys() == {("Service", "greetserver"), *LOOKASIDE}


def test_readers_get_a_role() -> None:
    """Readers add a Role and a RoleBinding."""
    assert made(readers=[{"serviceAccount": "gateway"}]).keys() == {("Service", "greetserver"), *LOOKASIDE, *READER}


def test_no_replicas_means_no_lookaside() -> None:
    """Without a lookaside, none of its objects exist, including its permissions."""
    assert made(lookaside={"replicas": 0}).keys() == {("Service", "greetserver")}


def test_single_replica_has_no_budget() -> None:
    """A single replica has no PodDisruptionBudget, which would block drains."""
    assert made(lookaside={"replicas": 1}).keys() == {
        ("Service", "greetserver"),
        *(LOOKASIDE - {("PodDisruptionBudget", "greetserver-lookaside")}),
    }


def test_bad_spec_makes_no_children() -> None:
    """An invalid spec gives no children."""
    with pytest.raises(SpecError, match=r"spec\.policy"):
        children(parsed_pool(policy="Newer"), IMAGE)


def test_every_child_is_owned_and_labelled() -> None:
    """Each child has an owner reference and the pool label, and no finalizer."""
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
                "uid": parsed_pool().uid,
                "controller": True,
            }
        ]


@pytest.mark.parametrize(("port", "number"), [(8080, 8080), ("grpc-port", 50051)])
def test_headless_service_leads_to_the_pods_port(port: int | str, number: int) -> None:
    """The target port of the Service is the port of the spec, by number or name."""
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
    """The selectors of Service, Deployment and budget match the pod labels."""
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
    """Common labels in a selector do not match lookaside pods."""
    assert not selector.items() <= pod_of(selector=selector)["metadata"]["labels"].items()


def test_pools_have_each_their_own_lookaside() -> None:
    """The lookasides of two pools do not share pods."""
    one = made("one")["Deployment", "one-lookaside"]["spec"]["selector"]
    two = made("two")["Deployment", "two-lookaside"]["spec"]["selector"]
    assert one != two


def test_lookaside_program_is_told_what_to_serve() -> None:
    """Command, image, settings and ports of the pod fit the lookaside program."""
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
    """The ConfigMap has a bootstrap file that points to the lookaside."""
    data = made(lookaside={"port": 6000})["ConfigMap", "greetserver-xds"]["data"]
    assert json.loads(data["bootstrap.json"]) == bootstrap(parsed_pool(lookaside={"port": 6000}))
    assert data.keys() == {"bootstrap.json"}


def test_certificate_is_mounted_and_told_of() -> None:
    """With TLS, certificate and key are mounted as required and the CA as optional; the program gets the folder."""
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
    """With TLS there is a bootstrap with and one without a client certificate, and the appProtocol is not h2c."""
    these = made(lookaside=TLS)
    data = these["ConfigMap", "greetserver-xds"]["data"]
    assert json.loads(data["bootstrap.json"]) == bootstrap(parsed_pool(lookaside=TLS))
    assert json.loads(data["bootstrap-without-certificate.json"]) == bootstrap(
        parsed_pool(lookaside=TLS), certificate=False
    )
    assert "appProtocol" not in these["Service", "greetserver-lookaside"]["spec"]["ports"][0]


def test_pod_meets_the_restricted_standard() -> None:
    """The pods meet the restricted Pod Security Standard, with a read-only root file system."""
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
    """The service account does not mount its token by default; only the pod does."""
    assert made()["ServiceAccount", "greetserver-lookaside"]["automountServiceAccountToken"] is False
    assert pod_of()["spec"]["automountServiceAccountToken"] is True


def test_rollout_never_has_fewer_servers() -> None:
    """A rollout starts a new server before it stops an old one."""
    spec = made()["Deployment", "greetserver-lookaside"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_servers_spread_over_nodes_and_zones() -> None:
    """Servers are spread over nodes and zones if possible."""
    spread = pod_of()["spec"]["topologySpreadConstraints"]
    assert {item["topologyKey"] for item in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert {item["whenUnsatisfiable"] for item in spread} == {"ScheduleAnyway"}
    assert all(item["labelSelector"]["matchLabels"] == pod_of()["metadata"]["labels"] for item in spread)


def test_resources_are_the_authors() -> None:
    """Resources of the spec replace the defaults as a whole."""
    assert container_of()["resources"] == {
        "requests": {"cpu": "20m", "memory": "96Mi"},
        "limits": {"memory": "256Mi"},
    }
    given = {"limits": {"memory": "1Gi"}, "requests": {}}
    assert container_of(lookaside={"resources": given})["resources"] == {"limits": {"memory": "1Gi"}}
    assert "resources" not in container_of(lookaside={"resources": {}})


def test_lookaside_may_read_slices_and_its_pool() -> None:
    """The Role has exactly the permissions that the watches need."""
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
    """The reader Role names the pool; its subjects are sorted, distinct accounts of the pool's namespace."""
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
    """With the longest pool name, all names and labels are valid."""
    limit = re.search(r"self\.metadata\.name\.size\(\) <= (\d+) ", CRD_FILE.read_text())
    assert limit
    for (_, name), child in made("p" * int(limit[1]), readers=[{"serviceAccount": "a"}]).items():
        assert len(name) <= 63
        assert all(len(value) <= 63 for value in child["metadata"]["labels"].values())


def test_what_others_refer_to_is_made_first() -> None:
    """Objects come before those that refer to them."""
    kinds = [child["kind"] for child in children(parsed_pool(), IMAGE)]
    assert kinds.index("ServiceAccount") < kinds.index("RoleBinding") < kinds.index("Deployment")
    assert kinds.index("Role") < kinds.index("RoleBinding")


def test_manifests_are_the_same_each_time() -> None:
    """Manifests are deterministic."""
    assert children(parsed_pool(), IMAGE) == children(parsed_pool(), IMAGE)


def test_digest_names_the_content() -> None:
    """A changed child has another digest, and others keep theirs."""
    old, new = made(), made(lookaside={"replicas": 3})
    changed = {ref for ref in old if _digest_of(old[ref]) != _digest_of(new[ref])}
    assert changed == {("Deployment", "greetserver-lookaside")}


def test_digest_does_not_depend_on_order() -> None:
    """The digest does not depend on the order of keys."""
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"b": [1, 2]}) != digest({"b": [2, 1]})


def _digest_of(child: Child) -> str:
    return str(child["metadata"]["annotations"][DIGEST_ANNOTATION])

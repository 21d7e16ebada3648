"""What the manifests install: pods, network policies, and the operator for some namespaces only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from . import deploy, pools
from .kubectl import Kubectl, eventually

MANIFESTS = deploy.REPOSITORY / "manifests"
INSTALLABLE = ("operator", "operator/namespaced", *(f"greet/{stage}" for stage in deploy.STAGES))
OPERATOR = "deployment/backendpool-operator"

Right = tuple[str, str, str, str]
"""API group, resource, name (empty for all) and verb."""


@dataclass(frozen=True, slots=True)
class Confined:
    """An operator in a namespace of its own, that serves one namespace and not another."""

    home: str
    served: str
    other: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.home}:backendpool-operator"


def rendered(kubectl: Kubectl, folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(kubectl("kustomize", str(folder)).stdout))


def pod_of(deployment: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """A pod as the Deployment makes them, but for its service account, which need not be there."""
    spec = {k: v for k, v in deployment["spec"]["template"]["spec"].items() if not k.startswith("serviceAccount")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": namespace}, "spec": spec}


def admitted(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """Why the API server refuses the pod; empty where it does not."""
    return kubectl("create", "--dry-run=server", "--filename=-", input=json.dumps(pod), check=False).stderr


@pytest.mark.parametrize("folder", INSTALLABLE)
def test_pods_meet_the_restricted_standard(operator: Kubectl, namespace: str, folder: str) -> None:
    """Each pod of the manifests is let in where the restricted Pod Security Standard is enforced, as it is at home."""
    objects = rendered(operator, MANIFESTS / folder)
    (home,) = (obj["metadata"] for obj in objects if obj["kind"] == "Namespace")
    assert home["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    deployments = [obj for obj in objects if obj["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        assert admitted(operator, pod_of(deployment, namespace)) == ""


def test_lookaside_meets_the_restricted_standard(operator: Kubectl, namespace: str) -> None:
    """It runs where the standard is enforced; a pod that asks for a little more is refused there."""
    operator.apply(pools.pool(namespace))
    operator("wait", "--for=create", "deployment/greetserver-lookaside", f"--namespace={namespace}", "--timeout=60s")
    operator.rollout(namespace, "deployment/greetserver-lookaside")
    deployment = operator.json("get", "deployment", "greetserver-lookaside", f"--namespace={namespace}")
    pod = pod_of(deployment, namespace)
    assert admitted(operator, pod) == ""
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert "violates PodSecurity" in admitted(operator, pod)


def test_network_policy_selects_the_operators(operator: Kubectl) -> None:
    """The policy is there, and its pods are the operator's, with the port that it opens."""
    _check_policy(operator, deploy.OPERATOR_NAMESPACE, "backendpool-operator", "deployment/backendpool-operator")


def test_network_policy_selects_the_lookasides(operator: Kubectl, namespace: str) -> None:
    """One policy finds the lookasides of all pools, whatever port they serve on, and no backend."""
    operator("apply", f"--namespace={namespace}", f"--kustomize={MANIFESTS / 'lookaside'}")
    two = ("greetserver", "other")
    operator.apply(
        pools.backends(namespace, 1),
        pools.pool(namespace, lookaside={"replicas": 1}),
        pools.pool(namespace, "other", lookaside={"replicas": 1, "port": 6000}),
    )
    for name in two:
        pools.wait_ready(operator, namespace, name)
    _check_policy(operator, namespace, "backendpool-lookaside", *(f"deployment/{name}-lookaside" for name in two))


def _check_policy(kubectl: Kubectl, namespace: str, name: str, *deployments: str) -> None:
    """It selects the pods of these Deployments and no other, and each has all ports that it names."""
    here = f"--namespace={namespace}"
    policy = kubectl.json("get", "networkpolicy", name, here)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    selected = _pods(kubectl, namespace, policy["podSelector"]["matchLabels"])
    wanted: dict[str, Any] = {}
    for deployment in deployments:
        wanted |= _pods(kubectl, namespace, kubectl.json("get", deployment, here)["spec"]["selector"]["matchLabels"])
    assert selected.keys() == wanted.keys() != set()
    for pod in selected.values():
        assert opened == {port["name"] for port in pod["spec"]["containers"][0]["ports"]}


def _pods(kubectl: Kubectl, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    items = kubectl.json("get", "pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
    return {pod["metadata"]["name"]: pod for pod in items}


@pytest.fixture(scope="module")
def confined(operator: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    """The operator from manifests/operator/namespaced, while the one for all namespaces is scaled to nothing."""
    run = uuid4().hex[:6]
    names = Confined(f"e2e-operator-{run}", f"e2e-served-{run}", f"e2e-other-{run}")
    system = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    replicas = operator.json("get", OPERATOR, system)["spec"]["replicas"]
    _stop(operator, deploy.OPERATOR_NAMESPACE)
    try:
        for name in (names.served, names.other):
            operator("create", "namespace", name)
        overlay = _overlay(tmp_path_factory.mktemp("manifests"), names.served)
        text = operator("kustomize", str(overlay)).stdout.replace(deploy.OPERATOR_NAMESPACE, names.home)
        operator("apply", "--server-side", "--filename=-", input=text)
        operator.rollout(names.home, OPERATOR)
        yield names
        # Before the other is back: two operators with a Lease each would both serve these pools.
        _stop(operator, names.home)
    finally:
        for name in (names.home, names.served, names.other):
            operator("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        operator("scale", OPERATOR, f"--replicas={replicas}", system)
        operator.rollout(deploy.OPERATOR_NAMESPACE, OPERATOR)


def _stop(kubectl: Kubectl, home: str) -> None:
    """Have no operator run in its namespace."""
    here = f"--namespace={home}"
    kubectl("scale", OPERATOR, "--replicas=0", here)
    kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=operator", here)


def _overlay(folder: Path, namespace: str) -> Path:
    """The overlay with one namespace in the place of its example, by the steps that it tells."""
    for name in ("crds", "manifests"):
        shutil.copytree(deploy.REPOSITORY / name, folder / name)
    overlay = folder / "manifests" / "operator" / "namespaced"
    (overlay / "default").rename(overlay / namespace)
    for file, old in (
        (overlay / namespace / "kustomization.yaml", "namespace: default\n"),
        (overlay / "kustomization.yaml", "  - default\n"),
        (overlay / "kustomization.yaml", "value: default}"),
    ):
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, old.replace("default", namespace)))
    return overlay


def rights(kubectl: Kubectl, user: str, namespace: str) -> set[Right]:
    """All that a user may do in a namespace, but for what every user may."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }

    def of(name: str) -> set[Right]:
        done = kubectl(
            "create", f"--as={name}", "--filename=-", "--output=json", "--validate=false", input=json.dumps(review)
        )
        return flat(json.loads(done.stdout)["status"]["resourceRules"])

    return of(user) - of("system:serviceaccount:default:nobody")


def flat(rules: list[dict[str, Any]]) -> set[Right]:
    return {
        right
        for rule in rules
        for right in product(rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""]), rule["verbs"])
    }


@pytest.mark.alone
def test_confined_operator_has_rights_where_it_serves_alone(operator: Kubectl, confined: Confined) -> None:
    """Where it serves, those of the shared list; at home, those on its Lease; elsewhere and over all, none."""
    granted = next(yaml.safe_load_all((MANIFESTS / "operator" / "rights" / "role.yaml").read_text(encoding="utf-8")))
    assert rights(operator, confined.user, confined.served) == flat(granted["rules"])
    assert {resource for _, resource, _, _ in rights(operator, confined.user, confined.home)} == {"leases"}
    assert rights(operator, confined.user, confined.other) == set()
    for verb, kind in product(("list", "watch"), ("gbp", "services", "namespaces", "customresourcedefinitions")):
        asked = ("auth", "can-i", verb, kind, "--all-namespaces", f"--as={confined.user}")
        assert operator(*asked, check=False).stdout == "no\n"


@pytest.mark.alone
def test_confined_operator_lacks_no_right(operator: Kubectl, confined: Confined) -> None:
    """A pool comes up, is kept so and told of, all within those rights, and nothing was refused meanwhile."""
    here = f"--namespace={confined.served}"
    operator.apply(
        pools.backends(confined.served, 2), pools.pool(confined.served, readers=[{"serviceAccount": "gateway"}])
    )
    pools.wait_ready(operator, confined.served)
    pools.wait_for_count(operator, confined.served, 2)
    operator("delete", "service", "greetserver", here)
    operator("wait", "--for=create", "service/greetserver", here, "--timeout=30s")
    events = "--field-selector=reason=DriftRepaired"
    eventually("an event", lambda: operator.json("get", "events.v1.events.k8s.io", here, events)["items"])
    operator("patch", "gbp", "greetserver", here, "--type=merge", '--patch={"spec":{"lookaside":{"replicas":0}}}')
    operator("wait", "--for=delete", "deployment/greetserver-lookaside", here, "--timeout=30s")
    log = operator("logs", OPERATOR, f"--namespace={confined.home}", "--all-pods", "--tail=-1").stdout
    assert "pools known" in log
    assert "orbidden" not in log


@pytest.mark.alone
def test_confined_operator_serves_no_other_namespace(operator: Kubectl, confined: Confined) -> None:
    """A pool elsewhere stays as its author wrote it."""
    operator.apply(pools.pool(confined.other), pools.pool(confined.served, "later", lookaside={"replicas": 0}))
    eventually(
        "the pool that is served has a status", lambda: pools.read(operator, confined.served, "later").get("status")
    )
    assert "status" not in pools.read(operator, confined.other)
    assert operator.json("get", "services", f"--namespace={confined.other}")["items"] == []


@pytest.mark.alone
def test_confined_operator_is_held_up_by_no_namespace(operator: Kubectl, confined: Confined) -> None:
    """With a namespace in its list that it may not read it becomes ready, says so, and serves the others."""
    operator(
        "set", "env", OPERATOR, f"WATCH_NAMESPACES={confined.served},{confined.other}", f"--namespace={confined.home}"
    )
    operator.rollout(confined.home, OPERATOR)
    operator.apply(pools.pool(confined.served, "latest", lookaside={"replicas": 0}))
    eventually("the pool has a status", lambda: pools.read(operator, confined.served, "latest").get("status"))
    log = operator("logs", OPERATOR, f"--namespace={confined.home}", "--all-pods", "--tail=-1").stdout
    assert "endpointslices cannot be watched, trying again: 403" in log

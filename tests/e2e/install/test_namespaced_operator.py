"""The operator restricted to listed namespaces (manifests/operator/namespaced), run with its own permissions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.e2e.support.namespaces import temporary_namespace
from tests.e2e.support.permissions import flat, rights
from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

OPERATOR = "deployment/backendpool-operator"

# The operator for all namespaces is scaled to zero meanwhile.
pytestmark = pytest.mark.alone


@dataclass(frozen=True, slots=True)
class Confined:
    """An operator in its own namespace that serves two namespaces, but not ``other``."""

    operator_namespace: str
    served: tuple[str, str]
    other: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.operator_namespace}:backendpool-operator"


@pytest.fixture(scope="module")
def confined(kubectl_with_operator: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    """The operator from manifests/operator/namespaced; the one for all namespaces is scaled to zero meanwhile."""
    system = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    replicas = kubectl_with_operator.json("get", OPERATOR, system)["spec"]["replicas"]
    _stop(kubectl_with_operator, deploy.OPERATOR_NAMESPACE)
    operator_namespace = f"e2e-operator-{uuid4().hex[:6]}"
    with ExitStack() as stack:
        stack.callback(kubectl_with_operator.rollout, deploy.OPERATOR_NAMESPACE, OPERATOR)
        stack.callback(kubectl_with_operator, "scale", OPERATOR, f"--replicas={replicas}", system)
        one, two, other = (
            stack.enter_context(temporary_namespace(kubectl_with_operator, word)) for word in ("one", "two", "other")
        )
        overlay = _overlay(tmp_path_factory.mktemp("manifests"), (one, two))
        text = deploy.manifests(kubectl_with_operator, overlay).replace(deploy.OPERATOR_NAMESPACE, operator_namespace)
        stack.callback(
            kubectl_with_operator, "delete", "namespace", operator_namespace, "--wait=false", "--ignore-not-found"
        )
        kubectl_with_operator("apply", "--server-side", "--filename=-", input=text)
        # Stop it before the other starts, since two operators with different Leases would both serve these pools.
        stack.callback(_stop, kubectl_with_operator, operator_namespace)
        kubectl_with_operator.rollout(operator_namespace, OPERATOR)
        yield Confined(operator_namespace, (one, two), other)


def _stop(kubectl: Kubectl, operator_namespace: str) -> None:
    """Scale the operator to zero and wait until its pods are gone."""
    here = f"--namespace={operator_namespace}"
    kubectl("scale", OPERATOR, "--replicas=0", here)
    kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=operator", here)


def _overlay(folder: Path, namespaces: Sequence[str]) -> Path:
    """Copy the overlay and replace its example namespace with ``namespaces``, as its comments describe."""
    for name in ("crds", "manifests"):
        shutil.copytree(deploy.REPOSITORY / name, folder / name)
    overlay = folder / "manifests" / "operator" / "namespaced"
    for namespace in namespaces:
        shutil.copytree(overlay / "default", overlay / namespace)
        _replace(overlay / namespace / "kustomization.yaml", "namespace: default\n", f"namespace: {namespace}\n")
    listed = "".join(f"  - {namespace}\n" for namespace in namespaces)
    _replace(overlay / "kustomization.yaml", "  - default\n", listed)
    _replace(overlay / "kustomization.yaml", "value: default}", f'value: "{",".join(namespaces)}"}}')
    return overlay


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_confined_operator_has_rights_where_it_serves_alone(kubectl_with_operator: Kubectl, confined: Confined) -> None:
    """The operator has the shared Role where it serves, access to Leases in its own namespace, and nothing else."""
    role = deploy.REPOSITORY / "manifests" / "operator" / "rights" / "role.yaml"
    granted = flat(next(yaml.safe_load_all(role.read_text(encoding="utf-8")))["rules"])
    assert [rights(kubectl_with_operator, confined.user, namespace) for namespace in confined.served] == [
        granted,
        granted,
    ]
    assert {
        resource for _, resource, _, _ in rights(kubectl_with_operator, confined.user, confined.operator_namespace)
    } == {"leases"}
    assert rights(kubectl_with_operator, confined.user, confined.other) == set()
    for verb, kind in product(("list", "watch"), ("gbp", "services", "namespaces", "customresourcedefinitions")):
        asked = ("auth", "can-i", verb, kind, "--all-namespaces", f"--as={confined.user}")
        assert kubectl_with_operator(*asked, check=False).stdout == "no\n"


def test_confined_operator_lacks_no_right(kubectl_with_operator: Kubectl, confined: Confined) -> None:
    """In both namespaces, a pool becomes ready, drift is repaired and reported, and no request is forbidden."""
    for namespace in confined.served:
        pool = pools.pool(namespace, readers=[{"serviceAccount": "gateway"}])
        kubectl_with_operator.apply(pools.backends(namespace, 2), pool)
    for namespace in confined.served:
        pools.wait_ready(kubectl_with_operator, namespace)
        pools.wait_for_count(kubectl_with_operator, namespace, 2)
        _is_kept_as_it_is(kubectl_with_operator, namespace)
    log = _log(kubectl_with_operator, confined)
    assert "Synced all informers" in log
    assert "orbidden" not in log


def _is_kept_as_it_is(kubectl: Kubectl, namespace: str) -> None:
    here = f"--namespace={namespace}"
    kubectl("delete", "service", "greetserver", here)
    kubectl("wait", "--for=create", "service/greetserver", here, "--timeout=180s")
    events = "--field-selector=reason=DriftRepaired"
    eventually("the event DriftRepaired", lambda: kubectl.json("get", "events.v1.events.k8s.io", here, events)["items"])
    kubectl("patch", "gbp", "greetserver", here, "--type=merge", '--patch={"spec":{"lookaside":{"replicas":0}}}')
    kubectl("wait", "--for=delete", "deployment/greetserver-lookaside", here, "--timeout=180s")


def test_confined_operator_serves_no_other_namespace(kubectl_with_operator: Kubectl, confined: Confined) -> None:
    """The operator ignores a pool in another namespace."""
    kubectl_with_operator.apply(pools.pool(confined.other))
    _are_served(kubectl_with_operator, confined.served, "later")
    assert "status" not in pools.read(kubectl_with_operator, confined.other)
    assert kubectl_with_operator.json("get", "services", f"--namespace={confined.other}")["items"] == []


def test_confined_operator_is_held_up_by_no_namespace(kubectl_with_operator: Kubectl, confined: Confined) -> None:
    """If the operator may not read a listed namespace, it logs that, becomes ready and serves the others."""
    listed = ",".join((confined.served[0], confined.other, confined.served[1]))
    kubectl_with_operator(
        "set", "env", OPERATOR, f"WATCH_NAMESPACES={listed}", f"--namespace={confined.operator_namespace}"
    )
    kubectl_with_operator.rollout(confined.operator_namespace, OPERATOR)
    _are_served(kubectl_with_operator, confined.served, "latest")
    failed = f"Watch failed, retrying resource=endpointslices namespace={confined.other} "
    lines = [line for line in _log(kubectl_with_operator, confined).splitlines() if failed in line]
    assert any('error="403' in line for line in lines)


def _are_served(kubectl: Kubectl, namespaces: Sequence[str], name: str) -> None:
    """Create a pool in each namespace, and wait until all have a status."""
    kubectl.apply(*(pools.pool(namespace, name, lookaside={"replicas": 0}) for namespace in namespaces))
    eventually("a status everywhere", lambda: all("status" in pools.read(kubectl, where, name) for where in namespaces))


def _log(kubectl: Kubectl, confined: Confined) -> str:
    return kubectl("logs", OPERATOR, f"--namespace={confined.operator_namespace}", "--all-pods", "--tail=-1").stdout

"""Malformed objects in one namespace do not stop the operator from serving other pools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.faults.monitored_pool import operators
from tools.cluster.deploy import OPERATOR_NAMESPACE
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

LOOKASIDE = "deployment/greetserver-lookaside"

INCOMPLETE_ENTRIES = (
    {"operation": "Update", "apiVersion": "v1"},
    {"operation": "Apply", "apiVersion": "v1"},
    {"manager": "somebody", "operation": "Update"},
    {"manager": "backendpool", "operation": "Update", "apiVersion": "v1"},
)


@pytest.fixture
def one_pool(kubectl_with_operator: Kubectl, namespace: str) -> Iterator[str]:
    """A namespace with a pool. After the test, no operator has restarted, and a new pool becomes ready."""
    before = _restarts(kubectl_with_operator)
    kubectl_with_operator.apply(pools.backends(namespace, replicas=1), pools.pool(namespace))
    pools.wait_ready(kubectl_with_operator, namespace)
    yield namespace
    kubectl_with_operator.apply(pools.pool(namespace, "other"))
    pools.wait_ready(kubectl_with_operator, namespace, "other")
    assert {
        name: count for name, count in _restarts(kubectl_with_operator).items() if count > before.get(name, 0)
    } == {}


@pytest.mark.parametrize("amount", ["1e1000000", "1e-1000000", "100u"])
def test_amount_that_somebody_else_wrote_is_put_right(
    kubectl_with_operator: Kubectl, one_pool: str, amount: str
) -> None:
    """A manual change of a lookaside's CPU request is reverted, even for extreme quantities."""
    requests = {"requests": {"cpu": amount}}
    container = {"name": "lookaside", "resources": requests}
    _patch(
        kubectl_with_operator,
        one_pool,
        LOOKASIDE,
        "strategic",
        {"spec": {"template": {"spec": {"containers": [container]}}}},
    )

    def repaired() -> bool:
        found = kubectl_with_operator.json("get", LOOKASIDE, f"--namespace={one_pool}")
        (container,) = found["spec"]["template"]["spec"]["containers"]
        return bool(container["resources"]["requests"]["cpu"] == "20m")

    eventually("a CPU request of 20m", repaired)


def test_managed_fields_of_any_shape_are_left_alone(kubectl_with_operator: Kubectl, one_pool: str) -> None:
    """A child with incomplete managedFields entries is still repaired."""
    service = "service/greetserver"
    found = kubectl_with_operator.json("get", service, f"--namespace={one_pool}", "--show-managed-fields")
    entries = [*found["metadata"]["managedFields"], *INCOMPLETE_ENTRIES]
    change = {"metadata": {"managedFields": entries}, "spec": {"selector": {"run": "somebody-else"}}}
    _patch(kubectl_with_operator, one_pool, service, "merge", change)

    def repaired() -> bool:
        spec = kubectl_with_operator.json("get", service, f"--namespace={one_pool}")["spec"]
        return bool(spec["selector"] == pools.LABELS)

    eventually("the repaired selector of the Service", repaired)


@pytest.mark.alone
def test_managed_fields_of_any_depth_hide_nothing(kubectl_with_operator: Kubectl, one_pool: str) -> None:
    """The operator starts although a pool, a child and an unrelated object have managedFields nested 5,000 levels deep.

    A starting operator reads all of them in its first lists.
    """
    metadata = {"name": "unrelated", "namespace": one_pool, "labels": {"backendpool.io/pool": "nobody"}}
    kubectl_with_operator.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    deep = '{"f:a":' * 5000 + "{}" + "}" * 5000
    entry = (
        f'{{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {deep}}}'
    )
    patch = f'--patch={{"metadata": {{"managedFields": [{entry}]}}}}'
    for what in ("gbp/greetserver", "configmap/greetserver-xds", "configmap/unrelated"):
        kubectl_with_operator("patch", what, f"--namespace={one_pool}", "--type=merge", patch)
    kubectl_with_operator("rollout", "restart", "deployment/backendpool-operator", f"--namespace={OPERATOR_NAMESPACE}")
    kubectl_with_operator.rollout(OPERATOR_NAMESPACE, "deployment/backendpool-operator")


def _patch(kubectl: Kubectl, namespace: str, what: str, form: str, change: dict[str, Any]) -> None:
    kubectl("patch", what, f"--namespace={namespace}", f"--type={form}", f"--patch={json.dumps(change)}")


def _restarts(kubectl: Kubectl) -> dict[str, int]:
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in operators(kubectl)
    }

"""Lifecycle of a pool on a real cluster, with the operator deployed from the built image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support import audit_log
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, columns, eventually
from tools.demo import pools
from tools.demo.watch import first_seen

CHILDREN = "services,serviceaccounts,configmaps,roles,rolebindings,deployments,poddisruptionbudgets"


on_the_shared_pool = pytest.mark.xdist_group("pool")


@pytest.fixture(scope="module")
def shared_namespace(kubectl: Kubectl) -> Iterator[str]:
    with temporary_namespace(kubectl, "pool") as namespace:
        yield namespace


@pytest.fixture
def pool_with_backends(kubectl_with_operator: Kubectl, shared_namespace: str) -> str:
    """A namespace with a pool over three backends, reset before each test; all backends are listed."""
    kubectl_with_operator.apply(
        pools.backends(shared_namespace), pools.pool(shared_namespace, readers=[{"serviceAccount": "greet-gateway"}])
    )
    pools.wait_for_pods(kubectl_with_operator, shared_namespace, 3)
    pools.wait_ready(kubectl_with_operator, shared_namespace)
    pools.wait_for_count(kubectl_with_operator, shared_namespace, 3)
    return shared_namespace


def children(kubectl: Kubectl, namespace: str) -> dict[tuple[str, str], str]:
    """Return each child's resource version by kind and name; for a Deployment, its generation."""
    items = kubectl.json("get", CHILDREN, f"--namespace={namespace}", "--selector=backendpool.io/pool")["items"]
    return {
        (i["kind"], i["metadata"]["name"]): str(i["metadata"].get("generation") or i["metadata"]["resourceVersion"])
        for i in items
    }


@on_the_shared_pool
def test_pool_becomes_ready_and_lists_its_pods(kubectl_with_operator: Kubectl, pool_with_backends: str) -> None:
    """A pool becomes ready, and its status lists exactly the pods, with node, zone, name and UID."""
    status = pools.read(kubectl_with_operator, pool_with_backends)["status"]
    assert (status["ready"], status["draining"], status["truncated"]) == (3, 0, False)
    assert all(e["podName"] and e["podUID"] and e["nodeName"] and e["port"] == pools.PORT for e in status["endpoints"])
    assert sum(zone["ready"] for zone in status["zones"]) == sum(1 for e in status["endpoints"] if e.get("zone"))
    assert status["serviceName"] == "greetserver"
    assert status["lookaside"]["target"] == f"greetserver-lookaside.{pool_with_backends}.svc:50055"


@on_the_shared_pool
def test_tables_and_description_read_well(kubectl_with_operator: Kubectl, pool_with_backends: str) -> None:
    """kubectl get, get -o wide and describe show the documented columns, conditions and events."""
    table = kubectl_with_operator("get", "grpcbackendpools", f"--namespace={pool_with_backends}").stdout
    assert columns(table) == ["NAME", "READY", "ENDPOINTS", "DRAINING", "POLICY", "AGE"]
    assert table.splitlines()[1].split()[:5] == ["greetserver", "True", "3", "0", "RoundRobin"]
    wide = kubectl_with_operator("get", "gbp", f"--namespace={pool_with_backends}", "--output=wide").stdout
    assert columns(wide)[6:] == ["SERVICE", "LOOKASIDE", "REVISION", "REASON"]

    def described() -> str:
        text = kubectl_with_operator("describe", "gbp", "greetserver", f"--namespace={pool_with_backends}").stdout
        assert "ChildrenApplied" in text
        assert "EndpointsReady" in text
        return text

    assert "PoolReady" in eventually("all reasons in the description", described)


@on_the_shared_pool
def test_scaling_is_followed(kubectl_with_operator: Kubectl, pool_with_backends: str) -> None:
    """After each scaling step (6, 3, 0, 3), the status lists exactly the ready pods."""
    for count in (6, 3, 0, 3):
        pools.scale(kubectl_with_operator, pool_with_backends, count)
        pools.wait_for_count(kubectl_with_operator, pool_with_backends, count)
        ready = pools.condition(pools.read(kubectl_with_operator, pool_with_backends), "Ready")["status"]
        assert ready == ("True" if count else "False")


@on_the_shared_pool
def test_deleting_a_pool_removes_all_that_it_made(kubectl_with_operator: Kubectl, pool_with_backends: str) -> None:
    """Deleting a pool deletes its children, and a pool applied again becomes ready."""
    assert len(children(kubectl_with_operator, pool_with_backends)) == 10
    kubectl_with_operator("delete", "gbp", "greetserver", f"--namespace={pool_with_backends}")
    eventually("no children", lambda: not children(kubectl_with_operator, pool_with_backends))
    kubectl_with_operator.apply(pools.pool(pool_with_backends))
    pools.wait_ready(kubectl_with_operator, pool_with_backends)
    pools.wait_for_count(kubectl_with_operator, pool_with_backends, 3)
    assert len(children(kubectl_with_operator, pool_with_backends)) == 8, (
        "expected two fewer than before: this pool has no readers"
    )


def test_pool_goes_with_its_namespace(cluster: Cluster, kubectl_with_operator: Kubectl, namespace: str) -> None:
    """The operator creates nothing in a terminating namespace, and serves pools in others meanwhile."""
    with temporary_namespace(kubectl_with_operator, "gone") as gone:
        kubectl_with_operator.apply(
            pools.backends(gone, 1), pools.pool(gone), pools.pool(namespace, lookaside={"replicas": 0})
        )
        pools.wait_ready(kubectl_with_operator, gone)
        kubectl_with_operator("delete", "namespace", gone, "--wait=false")
        deleted = time.time()
        kubectl_with_operator.apply(pools.backends(namespace, 1))
        pools.wait_for_count(kubectl_with_operator, namespace, 1)
        kubectl_with_operator("wait", "--for=delete", f"namespace/{gone}", "--timeout=180s")
    writes = [write for write in audit_log.operator_writes(cluster, deleted) if write.namespace == gone]
    assert not [write for write in writes if write.code == 201], writes


@on_the_shared_pool
def test_pool_replaced_at_once_comes_up(kubectl_with_operator: Kubectl, pool_with_backends: str) -> None:
    """A pool that is replaced before its old children are garbage-collected gets all its own children."""
    before = pools.read(kubectl_with_operator, pool_with_backends)["metadata"]["uid"]
    kubectl_with_operator("delete", "gbp", "greetserver", f"--namespace={pool_with_backends}")
    kubectl_with_operator.apply(pools.pool(pool_with_backends))

    def settled() -> bool:
        owners = {
            owner["uid"]
            for item in kubectl_with_operator.json(
                "get", CHILDREN, f"--namespace={pool_with_backends}", "--selector=backendpool.io/pool"
            )["items"]
            for owner in item["metadata"]["ownerReferences"]
        }
        uid = pools.read(kubectl_with_operator, pool_with_backends)["metadata"]["uid"]
        return uid != before and owners == {uid} and len(children(kubectl_with_operator, pool_with_backends)) == 8

    eventually("only children of the new pool", settled)
    pools.wait_ready(kubectl_with_operator, pool_with_backends)
    pools.wait_for_count(kubectl_with_operator, pool_with_backends, 3)


def test_foreign_service_is_left_alone(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """A foreign Service with the pool's name makes the pool Stalled with an event, until it is deleted."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "greetserver", "namespace": namespace},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
    }
    kubectl_with_operator.apply(service, pools.backends(namespace, 1), pools.pool(namespace))
    before = kubectl_with_operator.json("get", "service", "greetserver", f"--namespace={namespace}")

    def stalled() -> bool:
        return pools.condition(pools.read(kubectl_with_operator, namespace), "Stalled").get("reason") == "Conflict"

    eventually("the condition Stalled with reason Conflict", stalled)
    assert "Service greetserver" in pools.condition(pools.read(kubectl_with_operator, namespace), "Stalled")["message"]
    events = "--field-selector=reason=Conflict,regarding.name=greetserver"
    eventually(
        "an event with reason Conflict",
        lambda: kubectl_with_operator.json("get", "events.v1.events.k8s.io", f"--namespace={namespace}", events)[
            "items"
        ],
    )
    assert not children(kubectl_with_operator, namespace), "expected no children while the pool is stalled"
    assert kubectl_with_operator.json("get", "service", "greetserver", f"--namespace={namespace}") == before
    kubectl_with_operator("delete", "service", "greetserver", f"--namespace={namespace}")
    pools.wait_ready(kubectl_with_operator, namespace)


@on_the_shared_pool
def test_drift_is_repaired(kubectl_with_operator: Kubectl, pool_with_backends: str) -> None:
    """Edited and deleted children are restored, an event says so, and the status keeps all endpoints."""
    here = f"--namespace={pool_with_backends}"
    versions = "{.metadata.resourceVersion}={.status.ready}{'\\n'}"
    with first_seen(kubectl_with_operator, versions, "gbp", "greetserver", here) as seen:
        eventually("the first event of the watch", lambda: seen)
        for kind, name in children(kubectl_with_operator, pool_with_backends):
            uid = kubectl_with_operator.json("get", kind, name, here)["metadata"]["uid"]
            kubectl_with_operator("delete", kind, name, here, "--wait=false")

            def is_back(kind: str = kind, name: str = name, uid: str = uid) -> bool:
                return bool(kubectl_with_operator.json("get", kind, name, here)["metadata"]["uid"] != uid)

            eventually(f"a new {kind} {name}", is_back)
        pools.wait_ready(kubectl_with_operator, pool_with_backends)
        pools.wait_for_count(kubectl_with_operator, pool_with_backends, 3)
    assert len(seen) > 1, "expected a status update while the Service was deleted"
    assert {version.partition("=")[2] for version in seen} == {"3"}
    patch = '{"spec":{"selector":{"run":"nobody"}}}'
    kubectl_with_operator("patch", "service", "greetserver", here, "--type=merge", f"--patch={patch}")

    def selector_is_back() -> bool:
        selector = kubectl_with_operator.json("get", "service", "greetserver", here)["spec"]["selector"]
        return bool(selector == pools.LABELS)

    eventually("the repaired selector", selector_is_back)
    # The slices may be empty for a moment after the selector changes.
    pools.wait_for_count(kubectl_with_operator, pool_with_backends, 3)
    assert "DriftRepaired" in kubectl_with_operator("describe", "gbp", "greetserver", here).stdout


def test_what_is_no_longer_asked_for_is_taken_out(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """Fields removed from the spec are removed from the children; fields that others added stay."""
    kubectl_with_operator.apply(pools.pool(namespace, lookaside={"replicas": 1}))
    here, name = f"--namespace={namespace}", "greetserver-lookaside"
    kubectl_with_operator("wait", "--for=create", f"deployment/{name}", here, "--timeout=180s")
    kubectl_with_operator("annotate", "deployment", name, here, "example.com/team=a")
    change = '{"spec":{"lookaside":{"port":50056,"resources":{"limits":null}}}}'
    kubectl_with_operator("patch", "gbp", "greetserver", here, "--type=merge", f"--patch={change}")

    def follows() -> bool:
        pod = kubectl_with_operator.json("get", "deployment", name, here)["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"].keys() == {"requests"}
        assert [port["port"] for port in kubectl_with_operator.json("get", "service", name, here)["spec"]["ports"]] == [
            50056
        ]
        return True

    eventually("children that match the new spec", follows)
    assert (
        kubectl_with_operator.json("get", "deployment", name, here)["metadata"]["annotations"]["example.com/team"]
        == "a"
    )


@pytest.mark.alone
def test_restarted_operator_loses_nothing_and_writes_nothing(
    cluster: Cluster, kubectl_with_operator: Kubectl, pool_with_backends: str
) -> None:
    """After SIGKILL of both replicas, the restarted operators send no write, since nothing has changed."""
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: kills a process on a node")

    def at_rest() -> bool:
        message = pools.condition(pools.read(kubectl_with_operator, pool_with_backends), "LookasideAvailable")[
            "message"
        ]
        return bool(message == "2 replicas are available.")

    eventually("two available lookaside replicas in the status", at_rest)
    before, since = pools.read(kubectl_with_operator, pool_with_backends), time.time()
    killed = _kill_operators(cluster, kubectl_with_operator)
    eventually("two more container restarts", lambda: _restarts(kubectl_with_operator) >= killed + 2)
    kubectl_with_operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
    eventually("a new leader", lambda: _is_led_anew(cluster, since))
    assert pools.read(kubectl_with_operator, pool_with_backends) == before
    assert not _writes(cluster, pool_with_backends, since)
    pools.scale(kubectl_with_operator, pool_with_backends, 4)
    pools.wait_for_count(kubectl_with_operator, pool_with_backends, 4)
    assert _writes(cluster, pool_with_backends, since), (
        "no operator write in the audit log: create the cluster again with this version"
    )


def _is_led_anew(cluster: Cluster, since: float) -> bool:
    """Whether a process that started after ``since`` holds the Lease and has had time for its first reconciles."""
    writes = audit_log.lease_writes(cluster)
    former = {write.instance for write in writes if write.received < since}
    return sum(write.instance not in former for write in writes) > 1


def _writes(cluster: Cluster, namespace: str, since: float) -> list[audit_log.Write]:
    return [write for write in audit_log.operator_writes(cluster, since) if write.namespace == namespace]


def _operator_pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    selector = "--selector=app.kubernetes.io/component=operator"
    items = kubectl.json("get", "pods", f"--namespace={deploy.OPERATOR_NAMESPACE}", selector)["items"]
    return [i for i in items if "deletionTimestamp" not in i["metadata"]]


def _restarts(kubectl: Kubectl) -> int:
    return sum(int(pod["status"]["containerStatuses"][0]["restartCount"]) for pod in _operator_pods(kubectl))


def _kill_operators(cluster: Cluster, kubectl: Kubectl) -> int:
    """Send SIGKILL to leader and standby on their nodes; return the number of restarts before."""
    restarts = _restarts(kubectl)
    for node in {pod["spec"]["nodeName"] for pod in _operator_pods(kubectl)}:
        cluster.docker("exec", node, "pkill", "--signal=KILL", "--full", "backendpool operator")
    return restarts

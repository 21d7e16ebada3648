"""A pool's life on a real cluster, with the operator running in it from the built image."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support import audit_log
from tests.e2e.support.namespaces import own_namespace
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, columns, eventually
from tools.demo import pools
from tools.demo.sightings import watched

CHILDREN = "services,serviceaccounts,configmaps,roles,rolebindings,deployments,poddisruptionbudgets"


in_the_shop = pytest.mark.xdist_group("shop")


@pytest.fixture(scope="module")
def home(kubectl: Kubectl) -> Iterator[str]:
    with own_namespace(kubectl, "shop") as namespace:
        yield namespace


@pytest.fixture
def shop(operator: Kubectl, home: str) -> str:
    """A namespace with three backends and a pool over them, all of them listed, whatever a test before did to it."""
    operator.apply(pools.backends(home), pools.pool(home, readers=[{"serviceAccount": "greet-gateway"}]))
    pools.wait_for_pods(operator, home, 3)
    pools.wait_ready(operator, home)
    pools.wait_for_count(operator, home, 3)
    return home


def children(kubectl: Kubectl, namespace: str) -> dict[tuple[str, str], str]:
    """Kind and name of each child, with its resource version (a Deployment's generation: its status moves)."""
    items = kubectl.json("get", CHILDREN, f"--namespace={namespace}", "--selector=backendpool.io/pool")["items"]
    return {
        (i["kind"], i["metadata"]["name"]): str(i["metadata"].get("generation") or i["metadata"]["resourceVersion"])
        for i in items
    }


@in_the_shop
def test_pool_becomes_ready_and_lists_its_pods(operator: Kubectl, shop: str) -> None:
    """kubectl wait succeeds, and the status lists exactly the pods, with node, zone, name and UID."""
    status = pools.read(operator, shop)["status"]
    assert (status["ready"], status["draining"], status["truncated"]) == (3, 0, False)
    assert all(e["podName"] and e["podUID"] and e["nodeName"] and e["port"] == pools.PORT for e in status["endpoints"])
    assert sum(zone["ready"] for zone in status["zones"]) == sum(1 for e in status["endpoints"] if e.get("zone"))
    assert status["serviceName"] == "greetserver"
    assert status["lookaside"]["target"] == f"greetserver-lookaside.{shop}.svc:50055"


@in_the_shop
def test_tables_and_description_read_well(operator: Kubectl, shop: str) -> None:
    """kubectl get, get -o wide, and describe show what a user looks for."""
    table = operator("get", "grpcbackendpools", f"--namespace={shop}").stdout
    assert columns(table) == ["NAME", "READY", "ENDPOINTS", "DRAINING", "POLICY", "AGE"]
    assert table.splitlines()[1].split()[:5] == ["greetserver", "True", "3", "0", "RoundRobin"]
    wide = operator("get", "gbp", f"--namespace={shop}", "--output=wide").stdout
    assert columns(wide)[6:] == ["SERVICE", "LOOKASIDE", "REVISION", "REASON"]

    def described() -> str:
        text = operator("describe", "gbp", "greetserver", f"--namespace={shop}").stdout
        assert "ChildrenApplied" in text
        assert "EndpointsReady" in text
        return text

    assert "PoolReady" in eventually("events in the description", described)


@in_the_shop
def test_scaling_is_followed(operator: Kubectl, shop: str) -> None:
    """3-6-3-0-3: after each step the status lists exactly the pods that are there."""
    for count in (6, 3, 0, 3):
        pools.scale(operator, shop, count)
        pools.wait_for_count(operator, shop, count)
        ready = pools.condition(pools.read(operator, shop), "Ready")["status"]
        assert ready == ("True" if count else "False")


@in_the_shop
def test_deleting_a_pool_removes_all_that_it_made(operator: Kubectl, shop: str) -> None:
    """Children go with the pool, and a pool applied again comes up as before."""
    assert len(children(operator, shop)) == 10
    operator("delete", "gbp", "greetserver", f"--namespace={shop}")
    eventually("all children gone", lambda: not children(operator, shop))
    operator.apply(pools.pool(shop))
    pools.wait_ready(operator, shop)
    pools.wait_for_count(operator, shop, 3)
    assert len(children(operator, shop)) == 8, "the same but for the readers, which are not asked for now"


def test_pool_goes_with_its_namespace(cluster: Cluster, operator: Kubectl, namespace: str) -> None:
    """Nothing is made any more in a namespace that is being deleted; pools elsewhere are served meanwhile."""
    with own_namespace(operator, "gone") as gone:
        operator.apply(pools.backends(gone, 1), pools.pool(gone), pools.pool(namespace, lookaside={"replicas": 0}))
        pools.wait_ready(operator, gone)
        operator("delete", "namespace", gone, "--wait=false")
        deleted = time.time()
        operator.apply(pools.backends(namespace, 1))
        pools.wait_for_count(operator, namespace, 1)
        operator("wait", "--for=delete", f"namespace/{gone}", "--timeout=180s")
    writes = [write for write in audit_log.operator_writes(cluster, deleted) if write.namespace == gone]
    assert not [write for write in writes if write.code == 201], writes


@in_the_shop
def test_pool_replaced_at_once_comes_up(operator: Kubectl, shop: str) -> None:
    """A pool deleted and applied again before its children were collected has all its children in the end."""
    before = pools.read(operator, shop)["metadata"]["uid"]
    operator("delete", "gbp", "greetserver", f"--namespace={shop}")
    operator.apply(pools.pool(shop))

    def settled() -> bool:
        owners = {
            owner["uid"]
            for item in operator.json("get", CHILDREN, f"--namespace={shop}", "--selector=backendpool.io/pool")["items"]
            for owner in item["metadata"]["ownerReferences"]
        }
        uid = pools.read(operator, shop)["metadata"]["uid"]
        return uid != before and owners == {uid} and len(children(operator, shop)) == 8

    eventually("children of the new pool alone", settled)
    pools.wait_ready(operator, shop)
    pools.wait_for_count(operator, shop, 3)


def test_foreign_service_is_left_alone(operator: Kubectl, namespace: str) -> None:
    """A Service of the pool's name makes it Stalled with an event; when it goes the pool comes up."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "greetserver", "namespace": namespace},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
    }
    operator.apply(service, pools.backends(namespace, 1), pools.pool(namespace))
    before = operator.json("get", "service", "greetserver", f"--namespace={namespace}")

    def stalled() -> bool:
        return pools.condition(pools.read(operator, namespace), "Stalled").get("reason") == "Conflict"

    eventually("Stalled with reason Conflict", stalled)
    assert "Service greetserver" in pools.condition(pools.read(operator, namespace), "Stalled")["message"]
    events = "--field-selector=reason=Conflict,regarding.name=greetserver"
    eventually(
        "a warning event",
        lambda: operator.json("get", "events.v1.events.k8s.io", f"--namespace={namespace}", events)["items"],
    )
    assert not children(operator, namespace), "nothing is made half"
    assert operator.json("get", "service", "greetserver", f"--namespace={namespace}") == before
    operator("delete", "service", "greetserver", f"--namespace={namespace}")
    pools.wait_ready(operator, namespace)


@in_the_shop
def test_drift_is_repaired(operator: Kubectl, shop: str) -> None:
    """A child that is edited or deleted is put right, an event says so, and deleting one costs the list no endpoint."""
    here = f"--namespace={shop}"
    versions = "{.metadata.resourceVersion}={.status.ready}{'\\n'}"
    with watched(operator, versions, "gbp", "greetserver", here) as seen:
        eventually("the watch is on", lambda: seen)
        for kind, name in children(operator, shop):
            uid = operator.json("get", kind, name, here)["metadata"]["uid"]
            operator("delete", kind, name, here, "--wait=false")

            def is_back(kind: str = kind, name: str = name, uid: str = uid) -> bool:
                return bool(operator.json("get", kind, name, here)["metadata"]["uid"] != uid)

            eventually(f"{kind} {name} is made again", is_back)
        pools.wait_ready(operator, shop)
        pools.wait_for_count(operator, shop, 3)
    assert len(seen) > 1, "the status tells of the Service that was away"
    assert {version.partition("=")[2] for version in seen} == {"3"}
    patch = '{"spec":{"selector":{"run":"nobody"}}}'
    operator("patch", "service", "greetserver", here, "--type=merge", f"--patch={patch}")

    def selector_is_back() -> bool:
        selector = operator.json("get", "service", "greetserver", here)["spec"]["selector"]
        return bool(selector == pools.LABELS)

    eventually("the selector is put right", selector_is_back)
    # The slices may be empty for a moment, now or in a moment.
    pools.wait_for_count(operator, shop, 3)
    assert "DriftRepaired" in operator("describe", "gbp", "greetserver", here).stdout


def test_what_is_no_longer_asked_for_is_taken_out(operator: Kubectl, namespace: str) -> None:
    """A changed spec takes from the children what it has no longer, and leaves what others added to them."""
    operator.apply(pools.pool(namespace, lookaside={"replicas": 1}))
    here, name = f"--namespace={namespace}", "greetserver-lookaside"
    operator("wait", "--for=create", f"deployment/{name}", here, "--timeout=180s")
    operator("annotate", "deployment", name, here, "example.com/team=a")
    change = '{"spec":{"lookaside":{"port":50056,"resources":{"limits":null}}}}'
    operator("patch", "gbp", "greetserver", here, "--type=merge", f"--patch={change}")

    def follows() -> bool:
        pod = operator.json("get", "deployment", name, here)["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"].keys() == {"requests"}
        assert [port["port"] for port in operator.json("get", "service", name, here)["spec"]["ports"]] == [50056]
        return True

    eventually("children as the new spec has them", follows)
    assert operator.json("get", "deployment", name, here)["metadata"]["annotations"]["example.com/team"] == "a"


@pytest.mark.alone
def test_restarted_operator_loses_nothing_and_writes_nothing(cluster: Cluster, operator: Kubectl, shop: str) -> None:
    """Both replicas killed with SIGKILL and brought back find all as they left it, and send no write, be it in vain."""
    if not cluster.can_inject_faults:
        pytest.skip("kills a process on a node, which is done on a cluster of our own only")

    def at_rest() -> bool:
        message = pools.condition(pools.read(operator, shop), "LookasideAvailable")["message"]
        return bool(message == "2 replicas are available.")

    eventually("the second replica of the lookaside has been told of", at_rest)
    before, since = pools.read(operator, shop), time.time()
    killed = _kill_operators(cluster, operator)
    eventually("the operators are back", lambda: _restarts(operator) >= killed + 2)
    operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
    eventually("one of them leads", lambda: _is_led_anew(cluster, since))
    assert pools.read(operator, shop) == before
    assert not _writes(cluster, shop, since)
    pools.scale(operator, shop, 4)
    pools.wait_for_count(operator, shop, 4)
    assert _writes(cluster, shop, since), "the audit log holds no write of an operator: is the cluster of this version?"


def _is_led_anew(cluster: Cluster, since: float) -> bool:
    """Whether a process that began after ``since`` has the Lease, and the time for a first round behind it."""
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
    """SIGKILL to leader and standby, sent on their nodes; returns the restarts so far."""
    restarts = _restarts(kubectl)
    for node in {pod["spec"]["nodeName"] for pod in _operator_pods(kubectl)}:
        cluster.docker("exec", node, "pkill", "--signal=KILL", "--full", "backendpool operator")
    return restarts

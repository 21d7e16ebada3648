"""Drift detection: what counts as drift, and the resulting plan."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from backendpool.children.desired import children
from backendpool.children.drift import Plan, belongs_to, covers, owned_by, plan
from backendpool.children.manifest import Child, ChildRef, ref_of
from tests.fakes.objects import parsed_pool

IMAGE = "backendpool/operator:dev"
POOL = parsed_pool(readers=[{"serviceAccount": "gateway"}])
DESIRED = children(POOL, IMAGE)

HEADLESS: ChildRef = ("Service", "greetserver")
DEPLOYMENT: ChildRef = ("Deployment", "greetserver-lookaside")
ROLE: ChildRef = ("Role", "greetserver-lookaside")
READER: ChildRef = ("RoleBinding", "greetserver-reader")

BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]

Live = dict[ChildRef, dict[str, Any]]
Change = Callable[[dict[str, Any]], object]


def stored() -> Live:
    """Return the children as the API server would store them: with its own fields, and without types in lists."""
    return {ref_of(child): _stored(child) for child in DESIRED}


def _stored(child: Child) -> dict[str, Any]:
    live = copy.deepcopy(child)
    del live["apiVersion"], live["kind"]
    live["metadata"] |= {"uid": f"uid-of-{child['metadata']['name']}", "resourceVersion": "7", "generation": 1}
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    live["status"] = {"observedGeneration": 1}
    if child["kind"] == "Service":
        live["spec"] |= {"clusterIPs": ["None"], "ipFamilies": ["IPv4"], "sessionAffinity": "None"}
    if child["kind"] == "Deployment":
        pod = live["spec"]["template"]["spec"]
        pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
        pod["containers"][0] |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
    return live


def changed(ref: ChildRef, change: Change) -> Live:
    live = stored()
    change(live[ref])
    return live


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def test_children_as_stored_need_nothing() -> None:
    """Defaults of the API server are not drift."""
    assert plan(POOL, DESIRED, stored()) == Plan()


def test_missing_children_are_applied_in_order() -> None:
    """Missing children are applied in order."""
    assert plan(POOL, DESIRED, {}) == Plan(apply=DESIRED)


DRIFT: dict[str, tuple[ChildRef, Change]] = {
    "replicas": (DEPLOYMENT, lambda it: it["spec"].update(replicas=5)),
    "image": (DEPLOYMENT, lambda it: container(it).update(image="other")),
    "environment": (DEPLOYMENT, lambda it: container(it)["env"][0].update(value="other")),
    "environment variable removed": (DEPLOYMENT, lambda it: container(it)["env"].pop()),
    "command": (DEPLOYMENT, lambda it: container(it)["command"].append("--verbose")),
    "capabilities": (
        DEPLOYMENT,
        lambda it: container(it)["securityContext"]["capabilities"].update(drop=["NET_RAW"]),
    ),
    "memory limit": (DEPLOYMENT, lambda it: container(it)["resources"]["limits"].update(memory="257Mi")),
    "limit removed": (DEPLOYMENT, lambda it: container(it)["resources"].pop("limits")),
    "rollout": (
        DEPLOYMENT,
        lambda it: it["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable="25%"),
    ),
    "selector with another value": (HEADLESS, lambda it: it["spec"]["selector"].update(run="other")),
    "selector with one more label": (HEADLESS, lambda it: it["spec"]["selector"].update(tier="web")),
    "target port": (HEADLESS, lambda it: it["spec"]["ports"][0].update(targetPort=1)),
    "port name": (HEADLESS, lambda it: it["spec"]["ports"][0].update(name="http")),
    "cluster address": (HEADLESS, lambda it: it["spec"].update(clusterIP="198.19.0.9")),
    "label removed": (HEADLESS, lambda it: it["metadata"]["labels"].pop("backendpool.io/pool")),
    "digest of another version": (
        HEADLESS,
        lambda it: it["metadata"]["annotations"].update({"backendpool.io/applied-digest": "0"}),
    ),
    "rule added": (ROLE, lambda it: it["rules"].append({"resources": ["pods"]})),
    "verb added": (ROLE, lambda it: it["rules"][0]["verbs"].append("delete")),
    "reader added": (READER, lambda it: it["subjects"].append({"kind": "ServiceAccount", "name": "spy"})),
    "reader removed": (READER, lambda it: it["subjects"].clear()),
    "role of another name": (READER, lambda it: it["roleRef"].update(name="admin")),
}


@pytest.mark.parametrize(("ref", "change"), DRIFT.values(), ids=DRIFT)
def test_drift_is_repaired(ref: ChildRef, change: Change) -> None:
    """A changed field leads to an apply of that child only."""
    todo = plan(POOL, DESIRED, changed(ref, change))
    assert [ref_of(child) for child in todo.apply] == [ref]
    assert todo.delete == ()


ADDED: dict[str, tuple[ChildRef, Change]] = {
    "label": (HEADLESS, lambda it: it["metadata"]["labels"].update(team="greet")),
    "annotation": (DEPLOYMENT, lambda it: it["metadata"]["annotations"].update(note="x")),
    "annotation of pods, by kubectl rollout restart": (
        DEPLOYMENT,
        lambda it: it["spec"]["template"]["metadata"]["annotations"].update({"kubectl.kubernetes.io/restartedAt": "x"}),
    ),
    "environment variable": (
        DEPLOYMENT,
        lambda it: container(it)["env"].insert(0, {"name": "HTTPS_PROXY", "value": "x"}),
    ),
    "sidecar": (
        DEPLOYMENT,
        lambda it: it["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "x"}),
    ),
    "limit": (DEPLOYMENT, lambda it: container(it)["resources"]["limits"].update(cpu="1")),
    "second owner": (
        HEADLESS,
        lambda it: it["metadata"]["ownerReferences"].insert(0, {"kind": "ConfigMap", "name": "x", "uid": "x"}),
    ),
}


@pytest.mark.parametrize(("ref", "change"), ADDED.values(), ids=ADDED)
def test_what_others_add_stands(ref: ChildRef, change: Change) -> None:
    """Fields that an apply would not remove are not drift."""
    assert plan(POOL, DESIRED, changed(ref, change)) == Plan()


@pytest.mark.parametrize(
    ("wanted", "written", "same"),
    [
        ("1000m", "1", True),
        (1, "1", True),
        ("0.5", "500m", True),
        ("0.5Gi", "512Mi", True),
        ("1e3", "1k", True),
        ("1E", "1000P", True),
        ("100m", "0.1", True),
        ("1500u", "1500u", True),
        ("1Gi", "1G", False),
        ("1", "1m", False),
        ("512Mi", "513Mi", False),
        ("512Mi", "lots", False),
        ("512Mi", None, False),
        ("100u", "1m", True),
        ("20m", "1e1000000", False),
        ("1e1000000", "10e999999", True),
        ("1e1000000", "1e-1000000", False),
    ],
)
def test_quantities_are_compared_by_their_amount(wanted: object, written: object, same: bool) -> None:
    """Quantities are compared by amount."""
    assert covers({"limits": {"memory": written}}, {"limits": {"memory": wanted}}) is same


@pytest.mark.parametrize(
    ("step", "suffixes"), [(1000, ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]), (1024, BINARY)]
)
def test_each_suffix_is_a_step_above_the_one_before(step: int, suffixes: list[str]) -> None:
    """All suffixes of quantities are known, with their factors."""
    for small, large in pairwise(suffixes):
        assert covers({"limits": {"memory": f"{step}{small}"}}, {"limits": {"memory": f"1{large}"}})


def test_quantities_are_only_where_resources_are() -> None:
    """Outside of resources, quantities are compared as text."""
    assert not covers({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "1000m"}]})


@pytest.mark.parametrize(
    ("live", "desired"),
    [
        ({}, {"spec": {"replicas": 1}}),
        ({"spec": None}, {"spec": {"replicas": 1}}),
        ({"spec": "x"}, {"spec": {"replicas": 1}}),
        ({"rules": None}, {"rules": [{}]}),
        ({"limits": {}}, {"limits": {"cpu": "1"}}),
        ({"containers": []}, {"containers": [{"name": "a"}]}),
        ({"command": ["b", "a"]}, {"command": ["a", "b"]}),
    ],
)
def test_live_objects_of_another_shape_do_not_cover(live: dict[str, Any], desired: dict[str, Any]) -> None:
    """A live object whose structure differs from the desired one does not cover it, and no error is raised."""
    assert not covers(live, desired)


def test_children_no_longer_wanted_are_deleted() -> None:
    """Children that the spec no longer needs are deleted."""
    fewer = parsed_pool(lookaside={"replicas": 0})
    todo = plan(fewer, children(fewer, IMAGE), stored())
    assert todo.apply == ()
    assert set(todo.delete) == {ref_of(child) for child in DESIRED} - {HEADLESS}


def test_deletion_under_way_is_not_repeated() -> None:
    """A child in deletion is not deleted again."""
    live = changed(READER, lambda it: it["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    fewer = parsed_pool()
    assert plan(fewer, children(fewer, IMAGE), live).delete == (("Role", "greetserver-reader"),)


def test_only_what_the_pool_owns_is_deleted() -> None:
    """An object with the pool label that the pool does not own is not deleted."""
    fewer = parsed_pool()
    live = changed(READER, lambda it: it["metadata"].update(ownerReferences=[]))
    assert plan(fewer, children(fewer, IMAGE), live).delete == (("Role", "greetserver-reader"),)


def test_foreign_object_stops_everything() -> None:
    """A foreign object with the name of a child leads to a plan without changes."""
    live = changed(HEADLESS, lambda it: it["metadata"].pop("ownerReferences"))
    del live[DEPLOYMENT]
    assert plan(POOL, DESIRED, live) == Plan(conflicts=(HEADLESS,))


def test_child_of_another_pool_is_foreign() -> None:
    """A child of another pool is foreign: pools ``x`` and ``x-lookaside`` both want a Service ``x-lookaside``."""
    second = parsed_pool("greetserver-lookaside")
    taken = {ref: obj for ref, obj in stored().items() if ref == ("Service", "greetserver-lookaside")}
    taken["Service", "greetserver-lookaside"]["metadata"]["ownerReferences"][0]["uid"] = "uid-of-the-first"
    todo = plan(second, children(second, IMAGE), taken)
    assert todo.conflicts == (("Service", "greetserver-lookaside"),)


def test_children_of_a_deleted_pool_are_taken_over() -> None:
    """A recreated pool takes over the children of the deleted one."""
    live = changed(HEADLESS, lambda it: it["metadata"]["ownerReferences"][0].update(uid="uid-of-the-deleted"))
    assert not owned_by(live[HEADLESS], POOL.uid)
    assert belongs_to(live[HEADLESS], POOL)
    assert [ref_of(child) for child in plan(POOL, DESIRED, live).apply] == [HEADLESS]


@pytest.mark.parametrize(
    ("owners", "owned"),
    [
        ([{"uid": "pool-uid", "controller": True}], True),
        ([{"uid": "other"}, {"uid": "pool-uid", "controller": True}], True),
        ([{"uid": "pool-uid"}], False),
        ([{"uid": "other", "controller": True}], False),
        ([], False),
        (None, False),
    ],
)
def test_owner_is_the_controller(owners: list[dict[str, Any]] | None, owned: bool) -> None:
    """Only the controller reference counts as the owner."""
    assert owned_by({"metadata": {"ownerReferences": owners}}, "pool-uid") is owned


@pytest.mark.parametrize(
    "change",
    [{"kind": "Deployment"}, {"name": "other"}, {"apiVersion": "example.com/v1alpha1"}, {"controller": False}],
)
def test_only_a_pool_of_the_same_name_leaves_its_children(change: dict[str, Any]) -> None:
    """Owners are compared by group, kind and name, not by version."""
    owner = {"apiVersion": "backendpool.io/v1", "kind": "GrpcBackendPool", "name": "greetserver", "uid": "old"}
    live = {"metadata": {"ownerReferences": [{**owner, "controller": True}]}}
    assert belongs_to(live, POOL)
    live["metadata"]["ownerReferences"][0].update(change)
    assert not belongs_to(live, POOL)

"""Who may do what, asked of the API server itself: each right that is used, and none beside it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from . import deploy, pools
from .cluster import Cluster
from .kubectl import Kubectl

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
CHILD_VERBS = {"get", "list", "watch", "create", "patch", "delete"}

OPERATOR = {
    "grpcbackendpools.backendpool.io": {"get", "list", "watch"},
    "grpcbackendpools.backendpool.io/status": {"update"},
    "endpointslices.discovery.k8s.io": {"list", "watch"},
    "configmaps": CHILD_VERBS,
    "services": CHILD_VERBS,
    "serviceaccounts": CHILD_VERBS,
    "deployments.apps": CHILD_VERBS,
    "poddisruptionbudgets.policy": CHILD_VERBS,
    "roles.rbac.authorization.k8s.io": CHILD_VERBS,
    "rolebindings.rbac.authorization.k8s.io": CHILD_VERBS,
    "events.events.k8s.io": {"create"},
    "leases.coordination.k8s.io": set(),  # but for its own one, in its own namespace
    "secrets": set(),
    "pods": {"list"},
    "pods/exec": set(),
    "namespaces": set(),
    "nodes": set(),
    "clusterroles.rbac.authorization.k8s.io": set(),
    "clusterrolebindings.rbac.authorization.k8s.io": set(),
    "customresourcedefinitions.apiextensions.k8s.io": set(),
}


def may(kubectl: Kubectl, account: str, verb: str, resource: str, namespace: str) -> bool:
    """kubectl auth can-i, as a service account (``namespace/name``)."""
    kind, _, subresource = resource.partition("/")
    user = f"--as=system:serviceaccount:{account.replace('/', ':')}"
    scope = [f"--subresource={subresource}"] if subresource else []
    answer = kubectl("auth", "can-i", verb, kind, user, f"--namespace={namespace}", *scope, check=False)
    assert answer.stdout.strip() in ("yes", "no"), answer.stderr
    return answer.stdout.strip() == "yes"


@pytest.mark.parametrize("resource", OPERATOR)
def test_operator_has_the_verbs_that_it_uses_and_no_other(operator: Kubectl, resource: str) -> None:
    """Verb by verb, in a namespace that is none of its own."""
    account = f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator"
    with ThreadPoolExecutor() as several:
        answers = several.map(lambda verb: may(operator, account, verb, resource, "default"), VERBS)
        allowed = {verb for verb, answer in zip(VERBS, answers, strict=True) if answer}
    assert allowed == OPERATOR[resource]


def test_operator_has_its_own_lease_and_no_other(operator: Kubectl) -> None:
    """It may create a Lease in its namespace, and read and renew the one that is called after it."""
    account, home = f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator", deploy.OPERATOR_NAMESPACE
    leases = "leases.coordination.k8s.io"
    assert {v for v in VERBS if may(operator, account, v, leases, home)} == {"create"}
    own = {v for v in VERBS if _may_name(operator, account, v, leases, "backendpool-operator", home)}
    assert own == {"get", "list", "watch", "create", "update"}


def test_operator_cannot_grant_more_than_it_has(operator: Kubectl) -> None:
    """It has neither escalate nor bind, so the API server itself keeps its Roles small."""
    account = f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator"
    roles = ("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io")
    assert not any(may(operator, account, v, r, "default") for v, r in product(("escalate", "bind"), roles))


def test_no_role_has_a_wildcard(operator: Kubectl, namespace: str) -> None:
    """Neither the operator's nor those that it makes."""
    operator.apply(pools.pool(namespace, readers=[{"serviceAccount": "reader"}]))
    _wait_for_roles(operator, namespace)
    made = operator.json("get", "roles", f"--namespace={namespace}", "--selector=backendpool.io/pool")["items"]
    own = operator.json("get", "clusterrole", "backendpool-operator")
    words = [w for role in [*made, own] for rule in role["rules"] for words in rule.values() for w in words]
    assert words
    assert "*" not in words


def test_lookaside_and_readers_have_just_their_pool(operator: Kubectl, namespace: str) -> None:
    """The lookaside reads EndpointSlices, a reader this one pool; neither can do anything else."""
    operator.apply(pools.pool(namespace, readers=[{"serviceAccount": "reader"}]))
    _wait_for_roles(operator, namespace)
    lookaside, reader = f"{namespace}/greetserver-lookaside", f"{namespace}/reader"
    slices, gbp = "endpointslices.discovery.k8s.io", "grpcbackendpools.backendpool.io"
    assert {v for v in VERBS if may(operator, lookaside, v, slices, namespace)} == {"list", "watch"}
    assert not any(may(operator, reader, verb, f"{gbp}/status", namespace) for verb in VERBS)
    assert {v for v in VERBS if _may_name(operator, reader, v, gbp, "greetserver", namespace)} == {
        "get",
        "list",
        "watch",
    }
    for account, verb, resource in (
        (lookaside, "list", gbp),
        (lookaside, "get", "secrets"),
        (reader, "list", slices),
        (reader, "get", "secrets"),
        (reader, "list", "pods"),
    ):
        assert not may(operator, account, verb, resource, namespace)
    assert not may(operator, lookaside, "list", slices, "default")
    assert not _may_name(operator, reader, "get", gbp, "another", namespace)
    assert not may(operator, reader, "list", gbp, namespace), "all pools of the namespace"


@pytest.mark.xdist_group("stages")
@pytest.mark.parametrize("stage", deploy.STAGES)
def test_example_has_the_rights_that_its_stage_needs(cluster: Cluster, operator: Kubectl, stage: str) -> None:
    """The greet servers have none, the gateway reads its pool where it watches it, and has none elsewhere."""
    namespace = deploy.stage(cluster, stage)
    everybodys = _rights(operator, f"{namespace}/nobody")
    assert _rights(operator, f"{namespace}/greetserver") == everybodys
    own = set()
    if stage == "4-pool":
        pools.wait_ready(operator, namespace)
        own = {("grpcbackendpools.backendpool.io", "[]", "[greetserver]", "[get list watch]")}
    assert _rights(operator, f"{namespace}/greet-gateway") - everybodys == own


def _rights(kubectl: Kubectl, account: str) -> set[tuple[str, ...]]:
    """All that a service account may do in its namespace: resources, URLs, names and verbs."""
    namespace, _, name = account.partition("/")
    user = f"--as=system:serviceaccount:{namespace}:{name}"
    lines = kubectl("auth", "can-i", "--list", user, f"--namespace={namespace}").stdout.splitlines()
    return {tuple(re.split(r"\s{2,}", line.strip())) for line in lines[1:]}


def _may_name(kubectl: Kubectl, account: str, verb: str, resource: str, name: str, namespace: str) -> bool:
    user = f"--as=system:serviceaccount:{account.replace('/', ':')}"
    answer = kubectl("auth", "can-i", verb, f"{resource}/{name}", user, f"--namespace={namespace}", check=False)
    return answer.stdout.strip() == "yes"


def _wait_for_roles(kubectl: Kubectl, namespace: str) -> None:
    for role in ("greetserver-lookaside", "greetserver-reader"):
        kubectl("wait", "--for=create", f"rolebinding/{role}", f"--namespace={namespace}", "--timeout=60s")

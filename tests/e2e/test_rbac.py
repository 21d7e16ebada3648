"""Who may do what, asked of the API server itself: each right that is used, and none beside it."""

from __future__ import annotations

from itertools import product

import pytest

from . import deploy, pools
from .cluster import Cluster
from .kubectl import Kubectl
from .rights import Right, rights

READ = {"get", "list", "watch"}
CHILD_VERBS = {"get", "list", "watch", "create", "patch", "delete"}

OPERATOR = {
    "backendpool.io": {"grpcbackendpools": READ, "grpcbackendpools/status": {"update"}},
    "discovery.k8s.io": {"endpointslices": {"list", "watch"}},
    "": {"configmaps": CHILD_VERBS, "services": CHILD_VERBS, "serviceaccounts": CHILD_VERBS, "pods": {"list"}},
    "apps": {"deployments": CHILD_VERBS},
    "policy": {"poddisruptionbudgets": CHILD_VERBS},
    "rbac.authorization.k8s.io": {"roles": CHILD_VERBS, "rolebindings": CHILD_VERBS},
    "events.k8s.io": {"events": {"create"}},
}
"""What it uses in each namespace: verbs by API group and resource."""

USED = {(g, r, "", verb) for g, resources in OPERATOR.items() for r, verbs in resources.items() for verb in verbs}
LEASES = ("coordination.k8s.io", "leases")

BEYOND = {
    ("leases.coordination.k8s.io", "get"),  # but for its own one, in its own namespace
    ("secrets", "get"),
    ("secrets", "list"),
    ("pods/exec", "create"),
    ("namespaces", "list"),
    ("nodes", "list"),
    ("clusterroles.rbac.authorization.k8s.io", "create"),
    ("clusterrolebindings.rbac.authorization.k8s.io", "create"),
    ("customresourcedefinitions.apiextensions.k8s.io", "list"),
}


def may(kubectl: Kubectl, account: str, verb: str, resource: str, namespace: str) -> bool:
    """kubectl auth can-i, as a service account (``namespace/name``)."""
    kind, _, subresource = resource.partition("/")
    user = f"--as=system:serviceaccount:{account.replace('/', ':')}"
    scope = [f"--subresource={subresource}"] if subresource else []
    answer = kubectl("auth", "can-i", verb, kind, user, f"--namespace={namespace}", *scope, check=False)
    assert answer.stdout.strip() in ("yes", "no"), answer.stderr
    return answer.stdout.strip() == "yes"


def of(kubectl: Kubectl, account: str, namespace: str) -> set[Right]:
    """All that a service account may do in a namespace."""
    return rights(kubectl, f"system:serviceaccount:{account.replace('/', ':')}", namespace)


def test_operator_has_the_verbs_that_it_uses_and_no_other(operator: Kubectl) -> None:
    """All that it may do, in a namespace that is none of its own."""
    assert of(operator, f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator", "default") == USED


def test_operator_may_not_do_what_would_make_it_mighty(operator: Kubectl) -> None:
    """What an attacker who got hold of it would ask for first."""
    account = f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator"
    assert may(operator, account, "list", "services", "default")
    assert [what for what in sorted(BEYOND) if may(operator, account, what[1], what[0], "default")] == []


def test_operator_has_its_own_lease_and_no_other(operator: Kubectl) -> None:
    """It may create a Lease in its namespace, and read and renew the one that is called after it."""
    account, home = f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator", deploy.OPERATOR_NAMESPACE
    own = {(*LEASES, "backendpool-operator", verb) for verb in READ | {"update"}}
    assert of(operator, account, home) - USED == own | {(*LEASES, "", "create")}


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
    """The lookaside reads EndpointSlices and its pool, a reader this one pool; neither can do anything else."""
    operator.apply(pools.pool(namespace, readers=[{"serviceAccount": "reader"}]))
    _wait_for_roles(operator, namespace)
    lookaside, reader = f"{namespace}/greetserver-lookaside", f"{namespace}/reader"
    slices, gbp = ("discovery.k8s.io", "endpointslices"), ("backendpool.io", "grpcbackendpools")
    own = {right for verb in ("list", "watch") for right in ((*slices, "", verb), (*gbp, "greetserver", verb))}
    assert of(operator, lookaside, namespace) == own
    assert of(operator, reader, namespace) == {(*gbp, "greetserver", verb) for verb in READ}
    assert of(operator, lookaside, "default") == of(operator, reader, "default") == set()


@pytest.mark.xdist_group("stages")
@pytest.mark.parametrize("stage", deploy.STAGES)
def test_example_has_the_rights_that_its_stage_needs(cluster: Cluster, operator: Kubectl, stage: str) -> None:
    """The greet servers have none, the gateway reads its pool where it watches it, and has none elsewhere."""
    namespace = deploy.stage(cluster, stage)
    assert of(operator, f"{namespace}/greetserver", namespace) == set()
    own = set()
    if stage == "4-pool":
        pools.wait_ready(operator, namespace)
        own = {("backendpool.io", "grpcbackendpools", "greetserver", verb) for verb in READ}
    assert of(operator, f"{namespace}/greet-gateway", namespace) == own


def _wait_for_roles(kubectl: Kubectl, namespace: str) -> None:
    for role in ("greetserver-lookaside", "greetserver-reader"):
        kubectl("wait", "--for=create", f"rolebinding/{role}", f"--namespace={namespace}", "--timeout=60s")

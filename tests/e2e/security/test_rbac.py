"""Least privilege: service accounts have exactly the permissions that they use."""

from __future__ import annotations

from itertools import product

import pytest

from tests.e2e.support.permissions import READ, Right, rights
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl
from tools.demo import pools

CHILD_VERBS = {"get", "list", "watch", "create", "patch", "delete"}

ACCOUNT = f"{deploy.OPERATOR_NAMESPACE}/backendpool-operator"

OPERATOR = {
    "backendpool.io": {"grpcbackendpools": READ, "grpcbackendpools/status": {"update"}},
    "discovery.k8s.io": {"endpointslices": {"list", "watch"}},
    "": {"configmaps": CHILD_VERBS, "services": CHILD_VERBS, "serviceaccounts": CHILD_VERBS, "pods": {"list"}},
    "apps": {"deployments": CHILD_VERBS},
    "policy": {"poddisruptionbudgets": CHILD_VERBS},
    "rbac.authorization.k8s.io": {"roles": CHILD_VERBS, "rolebindings": CHILD_VERBS},
    "events.k8s.io": {"events": {"create"}},
}
"""Permissions of the operator in each namespace: verbs by API group and resource."""

USED = {(g, r, "", verb) for g, resources in OPERATOR.items() for r, verbs in resources.items() for verb in verbs}
LEASES = ("coordination.k8s.io", "leases")
READER = {("backendpool.io", "grpcbackendpools", "greetserver", verb) for verb in READ}
"""Permissions of a reader of the pool greetserver."""

BEYOND = {
    ("leases.coordination.k8s.io", "get"),  # except its own Lease, in its own namespace
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
    """Run kubectl auth can-i as a service account (``namespace/name``)."""
    kind, _, subresource = resource.partition("/")
    scope = [f"--namespace={namespace}", *([f"--subresource={subresource}"] if subresource else [])]
    answer = kubectl("auth", "can-i", verb, kind, f"--as={_user(account)}", *scope, check=False)
    assert answer.stdout.strip() in ("yes", "no"), answer.stderr
    return answer.stdout.strip() == "yes"


def of(kubectl: Kubectl, account: str, namespace: str) -> set[Right]:
    """Return all permissions of a service account in a namespace."""
    return rights(kubectl, _user(account), namespace)


def _user(account: str) -> str:
    """Return the user name of a service account."""
    return f"system:serviceaccount:{account.replace('/', ':')}"


def test_operator_has_the_verbs_that_it_uses_and_no_other(kubectl_with_operator: Kubectl) -> None:
    """Outside its own namespace, the operator has exactly the permissions that it uses."""
    assert of(kubectl_with_operator, ACCOUNT, "default") == USED


def test_operator_may_not_do_what_would_make_it_mighty(kubectl_with_operator: Kubectl) -> None:
    """The operator lacks the permissions that an attacker would want, such as reading Secrets."""
    assert may(kubectl_with_operator, ACCOUNT, "list", "services", "default")
    assert [what for what in sorted(BEYOND) if may(kubectl_with_operator, ACCOUNT, what[1], what[0], "default")] == []


def test_operator_has_its_own_lease_and_no_other(kubectl_with_operator: Kubectl) -> None:
    """In its namespace, the operator may also create Leases, and read and renew only its own."""
    own = {(*LEASES, "backendpool-operator", verb) for verb in READ | {"update"}}
    assert of(kubectl_with_operator, ACCOUNT, deploy.OPERATOR_NAMESPACE) == USED | own | {(*LEASES, "", "create")}


def test_operator_cannot_grant_more_than_it_has(kubectl_with_operator: Kubectl) -> None:
    """The operator has neither escalate nor bind, so it can grant only permissions that it has."""
    roles = ("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io")
    assert not any(
        may(kubectl_with_operator, ACCOUNT, v, r, "default") for v, r in product(("escalate", "bind"), roles)
    )


def test_no_role_has_a_wildcard(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """Neither the operator's own role nor the Roles that it creates contain a wildcard."""
    kubectl_with_operator.apply(pools.pool(namespace, readers=[{"serviceAccount": "reader"}]))
    _wait_for_roles(kubectl_with_operator, namespace)
    made = kubectl_with_operator.json("get", "roles", f"--namespace={namespace}", "--selector=backendpool.io/pool")[
        "items"
    ]
    own = kubectl_with_operator.json("get", "clusterrole", "backendpool-operator")
    words = [w for role in [*made, own] for rule in role["rules"] for words in rule.values() for w in words]
    assert words
    assert "*" not in words


def test_lookaside_and_readers_have_just_their_pool(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """The lookaside may read only EndpointSlices and its pool, and a reader only the pool."""
    kubectl_with_operator.apply(pools.pool(namespace, readers=[{"serviceAccount": "reader"}]))
    _wait_for_roles(kubectl_with_operator, namespace)
    lookaside, reader = f"{namespace}/greetserver-lookaside", f"{namespace}/reader"
    followed = (("discovery.k8s.io", "endpointslices", ""), ("backendpool.io", "grpcbackendpools", "greetserver"))
    assert of(kubectl_with_operator, lookaside, namespace) == {
        (*what, verb) for what in followed for verb in ("list", "watch")
    }
    assert of(kubectl_with_operator, reader, namespace) == READER
    assert of(kubectl_with_operator, lookaside, "default") == of(kubectl_with_operator, reader, "default") == set()


@pytest.mark.xdist_group("stages")
@pytest.mark.parametrize("stage", deploy.STAGES)
def test_example_has_the_rights_that_its_stage_needs(
    cluster: Cluster, kubectl_with_operator: Kubectl, stage: str
) -> None:
    """The gateway of the pool stage may read its pool; other gateways and all greet servers have no permissions."""
    namespace = deploy.stage(cluster, stage)
    assert of(kubectl_with_operator, f"{namespace}/greetserver", namespace) == set()
    if stage == "4-pool":
        pools.wait_ready(kubectl_with_operator, namespace)
    own = READER if stage == "4-pool" else set()
    assert of(kubectl_with_operator, f"{namespace}/greet-gateway", namespace) == own


def _wait_for_roles(kubectl: Kubectl, namespace: str) -> None:
    for role in ("greetserver-lookaside", "greetserver-reader"):
        kubectl("wait", "--for=create", f"rolebinding/{role}", f"--namespace={namespace}", "--timeout=180s")

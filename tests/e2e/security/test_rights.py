"""Attempts to escalate privileges through a pool. Its author must not gain any permission.

docs/security.md lists all attempts, each with its test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.support.permissions import READ, Right, rights
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

GBP = "grpcbackendpools.backendpool.io"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
CHILDREN = "services,serviceaccounts,configmaps,roles,rolebindings,deployments,poddisruptionbudgets"

AUTHOR: Mapping[str, tuple[str, ...]] = {
    GBP: ("get", "watch", "create"),
    "services": ("create",),
    "endpointslices.discovery.k8s.io": ("list", "watch"),
    "deployments.apps": ("create",),
    "configmaps": ("create",),
}
"""Permissions that the author of a pool with a lookaside and readers needs."""

LACKING = {
    "services create": "a pool makes a Service, which you may not create in this namespace",
    "endpointslices.discovery.k8s.io list": "a pool shows the addresses of pods, which you may not see",
    "endpointslices.discovery.k8s.io watch": "a pool shows the addresses of pods, which you may not see",
    "deployments.apps create": "a lookaside is a Deployment, which you may not create in this namespace",
    "configmaps create": "a lookaside comes with a ConfigMap for its clients, which you may not create",
    f"{GBP} get": "you cannot let others read a pool that you may not read",
    f"{GBP} watch": "you cannot let others read a pool that you may not read",
}


def acting_as(kubectl: Kubectl, user: str) -> Kubectl:
    return Kubectl((*kubectl.command, f"--as={user}"))


@pytest.fixture
def author(namespace: str) -> str:
    """A user without permissions."""
    return f"author-{namespace}"


def grant(kubectl: Kubectl, namespace: str, user: str, granted: Mapping[str, tuple[str, ...]]) -> None:
    """Grant the user exactly these permissions, by one Role."""
    rules = [
        {"apiGroups": [name.partition(".")[2]], "resources": [name.partition(".")[0]], "verbs": list(verbs)}
        for name, verbs in granted.items()
    ]
    meta = {"name": "author", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    kubectl.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "author"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        },
    )


def answer(kubectl: Kubectl, pool: dict[str, Any]) -> str:
    """Return the API server's response to a pool in a dry run."""
    done = kubectl("create", "--dry-run=server", "--filename=-", input=json.dumps(pool), check=False)
    return done.stdout + done.stderr


def await_answer(kubectl: Kubectl, pool: dict[str, Any], words: str) -> None:
    """Retry until the response contains ``words``, since new permissions take a moment to become effective."""

    def said() -> bool:
        text = answer(kubectl, pool)
        assert words in text, text
        return True

    eventually(f"the response {words!r}", said)


@pytest.mark.parametrize(("role", "verbs"), [("view", READ), ("edit", set(VERBS)), ("admin", set(VERBS))])
def test_built_in_roles_hold_for_pools(
    kubectl_with_operator: Kubectl, namespace: str, role: str, verbs: set[str]
) -> None:
    """The roles view, edit and admin include pools of their namespace, but never write access to a status."""
    user = f"{role}-{namespace}"
    kubectl_with_operator(
        "create", "rolebinding", role, f"--clusterrole={role}", f"--user={user}", f"--namespace={namespace}"
    )

    def allowed(where: str) -> set[Right]:
        return {right for right in rights(kubectl_with_operator, user, where) if right[0] in ("backendpool.io", "*")}

    wanted = {("backendpool.io", "grpcbackendpools", "", verb) for verb in verbs}
    eventually("the permissions of the role", lambda: allowed(namespace) == wanted)
    assert allowed("default") == set()


def test_editor_has_a_pool_with_all_that_belongs_to_it(
    kubectl_with_operator: Kubectl, namespace: str, author: str
) -> None:
    """The ClusterRole edit is enough for a pool with a lookaside and readers."""
    binding = ("create", "rolebinding", "author", "--clusterrole=edit", f"--user={author}", f"--namespace={namespace}")
    kubectl_with_operator(*binding)
    pool = pools.pool(namespace, readers=[{"serviceAccount": "gateway"}])
    await_answer(acting_as(kubectl_with_operator, author), pool, "created")


@pytest.mark.parametrize("lacking", LACKING)
def test_pool_lends_its_author_no_right(
    kubectl_with_operator: Kubectl, namespace: str, author: str, lacking: str
) -> None:
    """A pool is rejected if its author lacks any permission for the objects that the operator would create."""
    pool = pools.pool(namespace, readers=[{"serviceAccount": "gateway"}])
    grant(kubectl_with_operator, namespace, author, AUTHOR)
    await_answer(acting_as(kubectl_with_operator, author), pool, "created")
    resource, without = lacking.split()
    rest = {
        name: tuple(verb for verb in verbs if (name, verb) != (resource, without)) for name, verbs in AUTHOR.items()
    }
    grant(kubectl_with_operator, namespace, author, {name: verbs for name, verbs in rest.items() if verbs})
    await_answer(acting_as(kubectl_with_operator, author), pool, LACKING[lacking])


def test_author_needs_only_what_the_pool_asks_for(kubectl_with_operator: Kubectl, namespace: str, author: str) -> None:
    """A pool without a lookaside needs no permission for Deployments; one without readers needs none to read pools."""
    least = {name: verbs for name, verbs in AUTHOR.items() if name != "deployments.apps"} | {GBP: ("create",)}
    grant(kubectl_with_operator, namespace, author, least)
    await_answer(acting_as(kubectl_with_operator, author), pools.pool(namespace, lookaside={"replicas": 0}), "created")


def test_pool_of_others_cannot_be_made_to_ask_for_more(
    kubectl_with_operator: Kubectl, namespace: str, author: str
) -> None:
    """A user who may only patch pools can change labels, but not the spec."""
    kubectl_with_operator.apply(pools.pool(namespace, lookaside={"replicas": 0}))
    grant(kubectl_with_operator, namespace, author, {GBP: ("get", "patch")})
    here = ("gbp", "greetserver", f"--namespace={namespace}", "--dry-run=server")
    patch = ("patch", *here, "--type=merge", '--patch={"spec":{"readers":[{"serviceAccount":"mine"}]}}')
    asking = acting_as(kubectl_with_operator, author)
    eventually("permission to change labels", lambda: not asking("label", *here, "team=a", check=False).returncode)
    refused = asking(*patch, check=False)
    assert "a pool makes a Service, which you may not create" in refused.stderr


def test_pool_acts_in_its_namespace_alone(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """All children are in the pool's namespace, and grant permissions only to accounts there."""
    name = f"p-{uuid4().hex[:8]}"
    kubectl_with_operator.apply(pools.pool(namespace, name, readers=[{"serviceAccount": "default"}]))
    kubectl_with_operator(
        "wait", "--for=create", f"rolebinding/{name}-reader", f"--namespace={namespace}", "--timeout=180s"
    )
    made = kubectl_with_operator.json("get", CHILDREN, "--all-namespaces", f"--selector=backendpool.io/pool={name}")[
        "items"
    ]
    assert {item["metadata"]["namespace"] for item in made} == {namespace}
    subjects = [subject for item in made for subject in item.get("subjects", ())]
    assert {(s["kind"], s["namespace"]) for s in subjects} == {("ServiceAccount", namespace)}


def test_account_of_the_lookasides_name_is_not_used(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """No lookaside runs as an existing service account, which might have other permissions."""
    kubectl_with_operator("create", "serviceaccount", "greetserver-lookaside", f"--namespace={namespace}")
    kubectl_with_operator.apply(pools.pool(namespace))
    _await_conflict(kubectl_with_operator, namespace, "ServiceAccount greetserver-lookaside")
    assert kubectl_with_operator.json("get", "deployments", f"--namespace={namespace}")["items"] == []


def test_label_does_not_make_a_service_the_pools(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """A Service with the operator's labels but no owner stays unchanged, and its endpoints are not published."""
    labels = {"backendpool.io/pool": "greetserver", "app.kubernetes.io/component": "backends"}
    meta = {"name": "greetserver", "namespace": namespace, "labels": labels}
    spec = {"selector": {"run": "other"}, "ports": [{"name": "grpc", "port": 80}]}
    kubectl_with_operator.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    kubectl_with_operator(
        "wait", "--for=create", "endpointslices", f"--namespace={namespace}", "--all", "--timeout=180s"
    )
    before = kubectl_with_operator.json("get", "service", "greetserver", f"--namespace={namespace}")
    kubectl_with_operator.apply(pools.pool(namespace))
    _await_conflict(kubectl_with_operator, namespace, "Service greetserver")
    assert "revision" not in pools.read(kubectl_with_operator, namespace)["status"]
    assert kubectl_with_operator.json("get", "service", "greetserver", f"--namespace={namespace}") == before


def test_forged_child_keeps_nothing_of_its_own(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """A RoleBinding with a forged owner is overwritten with the pool's own, without its other subjects."""
    owner = {"apiVersion": "backendpool.io/v1alpha1", "kind": "GrpcBackendPool", "name": "greetserver"}
    meta = {"name": "greetserver-lookaside", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "greetserver-lookaside"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {**meta, "ownerReferences": [{**owner, "uid": str(uuid4()), "controller": True}]},
        "roleRef": role,
        "subjects": [{"apiGroup": role["apiGroup"], "kind": "User", "name": "mallory"}],
    }
    kubectl_with_operator.apply(binding, pools.pool(namespace))
    uid = pools.read(kubectl_with_operator, namespace)["metadata"]["uid"]

    def is_the_pools() -> bool:
        found = kubectl_with_operator.json("get", "rolebinding", meta["name"], f"--namespace={namespace}")
        assert found["subjects"] == [{"kind": "ServiceAccount", **meta}]
        assert uid in {reference["uid"] for reference in found["metadata"]["ownerReferences"]}
        return True

    eventually("the RoleBinding of the pool", is_the_pools)


def test_lookaside_stays_within_the_namespaces_quota(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """The namespace's ResourceQuota limits the replicas of a lookaside."""
    kubectl_with_operator("create", "quota", "few", "--hard=pods=1", f"--namespace={namespace}")
    kubectl_with_operator("wait", "--for=jsonpath={.status.hard.pods}=1", "quota/few", f"--namespace={namespace}")
    kubectl_with_operator.apply(pools.pool(namespace, lookaside={"replicas": 100}))
    lookaside = ("deployment/greetserver-lookaside", f"--namespace={namespace}")
    kubectl_with_operator("wait", "--for=create", *lookaside, "--timeout=180s")
    kubectl_with_operator("wait", "--for=condition=ReplicaFailure", *lookaside, "--timeout=180s")
    assert len(kubectl_with_operator.json("get", "pods", f"--namespace={namespace}")["items"]) <= 1


def _await_conflict(kubectl: Kubectl, namespace: str, what: str) -> None:
    def stalled() -> bool:
        condition = pools.condition(pools.read(kubectl, namespace), "Stalled")
        return condition.get("reason") == "Conflict" and what in condition["message"]

    eventually(f"a conflict over {what}", stalled)

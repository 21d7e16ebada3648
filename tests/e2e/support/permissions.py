"""RBAC permissions of a user, as the API server reports them (SelfSubjectRulesReview)."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from tools.cluster.kubectl import Kubectl

Right = tuple[str, str, str, str]
"""API group, resource, name (empty for all) and verb."""

READ = {"get", "list", "watch"}
"""The verbs that an informer needs."""


def rights(kubectl: Kubectl, user: str, namespace: str) -> set[Right]:
    """Return a user's permissions in a namespace (`kubectl auth can-i --list`), without those of every user."""
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
    """Return each permission in the rules of a Role."""
    return {
        right
        for rule in rules
        for right in product(rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""]), rule["verbs"])
    }

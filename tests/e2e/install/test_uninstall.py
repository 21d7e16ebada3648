"""The section "Uninstall" of docs/operations.md, run as written."""

from __future__ import annotations

import shlex

import pytest

from tests.docs.markdown import OPERATIONS, commands, section
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

pytestmark = pytest.mark.alone

CLUSTER_SCOPED = (
    "customresourcedefinitions,clusterroles,clusterrolebindings,namespaces,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings"
)
OWNED = "services,deployments,configmaps,roles,rolebindings,serviceaccounts,poddisruptionbudgets"


def run_section(kubectl: Kubectl, heading: str) -> None:
    """Run each command of a section from the root of the repository."""
    for command in commands(section(OPERATIONS, heading)):
        words = shlex.split(command.line.replace("manifests/", f"{deploy.REPOSITORY}/manifests/"))
        kubectl(*words[1:])


def labelled(kubectl: Kubectl) -> str:
    """Names of all cluster-scoped objects with the installation's label."""
    return kubectl("get", CLUSTER_SCOPED, "--selector=app.kubernetes.io/name=backendpool", "--output=name").stdout


def test_uninstall_leaves_nothing(cluster: Cluster, kubectl_with_operator: Kubectl, namespace: str) -> None:
    """After the documented commands, no object of the installation and no child of a pool is left."""
    if cluster.engine is None:
        pytest.skip("needs a kind cluster: deletes all pools")
    kubectl = kubectl_with_operator
    kubectl.apply(pools.backends(namespace, 1), pools.pool(namespace, lookaside={"replicas": 1}))
    pools.wait_ready(kubectl, namespace)
    assert labelled(kubectl)
    try:
        run_section(kubectl, "Uninstall")
        assert labelled(kubectl) == ""
        remaining = ("get", OWNED, f"--namespace={namespace}", "--output=name")
        eventually("no children", lambda: "greetserver" not in _without_backends(kubectl(*remaining).stdout))
    finally:
        deploy.operator(cluster)


def _without_backends(names: str) -> str:
    """Drop the Deployment of greet servers, which is the user's."""
    return names.replace("deployment.apps/greetserver\n", "")

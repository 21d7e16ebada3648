"""Temporary patches of the deployed operator's pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.support.faults.workloads import Pod
from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl

_MANAGER = "faults"


@contextmanager
def patched_operator(kubectl: Kubectl, pod: Pod, config: dict[str, Any]) -> Iterator[None]:
    """Add ``pod`` to the spec of the operator's pods within the context, and create the ConfigMap ``config``."""
    kubectl.apply(config)
    try:
        _apply(kubectl, pod)
        yield
    finally:
        # Server-side apply removes the fields that this manager applied before, and no others.
        _apply(kubectl, {})
        kubectl("delete", "configmap", config["metadata"]["name"], f"--namespace={deploy.OPERATOR_NAMESPACE}")


def _apply(kubectl: Kubectl, pod: Pod) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "backendpool-operator", "namespace": deploy.OPERATOR_NAMESPACE},
        "spec": {"template": {"spec": pod}} if pod else {},
    }
    kubectl("apply", "--server-side", f"--field-manager={_MANAGER}", "--filename=-", input=json.dumps(deployment))
    kubectl.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")

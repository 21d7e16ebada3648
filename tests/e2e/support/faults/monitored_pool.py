"""A pool under load whose servers and lookasides are spread over both workers, for tests that break the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.e2e.support.faults import nodes
from tests.e2e.support.faults.convergence import MonitoredPool, monitoring
from tests.e2e.support.faults.workloads import gateway, lookaside_gateway
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl
from tools.demo import pools

SERVERS = 4

_OPERATORS = (f"--namespace={deploy.OPERATOR_NAMESPACE}", "--selector=app.kubernetes.io/component=operator")


@contextmanager
def spread_pool(cluster: Cluster, kubectl: Kubectl) -> Iterator[MonitoredPool]:
    """Run a pool of four servers, half of them on the :func:`victim` node; gateways run on the other worker."""
    with ExitStack() as stack:
        namespace = stack.enter_context(temporary_namespace(kubectl, "faults-cluster"))
        with nodes.cordoned(kubectl, victim(cluster)):
            kubectl.apply(*gateway(namespace), *lookaside_gateway(namespace, "greetserver-lookaside"))
            kubectl.rollout(namespace, "deployment/greet-gateway", "deployment/asking-gateway")
            monitored = stack.enter_context(monitoring(kubectl, namespace, pools.LOOKASIDES))
        pool = pools.pool(namespace, readers=[{"serviceAccount": "greet-gateway"}])
        kubectl.apply(pool, _spread_backends(namespace))
        kubectl.rollout(namespace, "deployment/greetserver")
        pools.wait_ready(kubectl, namespace)
        yield monitored


def victim(cluster: Cluster) -> str:
    """Return the node that tests take down."""
    return nodes.workers(cluster)[-1]


def servers(monitored: MonitoredPool) -> list[dict[str, Any]]:
    """Return the pods of the pool that do not terminate."""
    selector = ",".join(f"{key}={value}" for key, value in pools.LABELS.items())
    return _staying(monitored.kubectl, f"--namespace={monitored.namespace}", f"--selector={selector}")


def operators(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Return the pods of the operator that do not terminate."""
    return _staying(kubectl, *_OPERATORS)


def _staying(kubectl: Kubectl, *which: str) -> list[dict[str, Any]]:
    return [pod for pod in kubectl.json("get", "pods", *which)["items"] if "deletionTimestamp" not in pod["metadata"]]


def _spread_backends(namespace: str) -> dict[str, Any]:
    """Return a Deployment of servers, spread evenly over both workers."""
    backends = pools.backends(namespace, SERVERS)
    backends["spec"]["template"]["spec"]["topologySpreadConstraints"] = [
        {
            "topologyKey": "kubernetes.io/hostname",
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": pools.LABELS},
            # Ignore tainted nodes: otherwise no replacement pod could be scheduled while a node is lost.
            "nodeTaintsPolicy": "Honor",
        }
    ]
    return backends

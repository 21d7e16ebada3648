"""Deploying a stage of the example."""

from __future__ import annotations

from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import eventually
from tools.demo import pools, traffic

WITH_POOL = ("3-lookaside", "4-pool", "5-xds")
SERVERS = 3


def deploy_ready(cluster: Cluster, name: str, namespace: str = "") -> str:
    """Install a stage in ``namespace``, by default its own, and wait until it works; returns the namespace.

    Exactly three servers are ready then, its pool, if any, lists them, and the gateway has answered a call: a busy node
    takes a while to route to a new Service.
    """
    namespace = deploy.stage(cluster, name, namespace)
    kubectl = deploy.kubectl_of(cluster)
    pools.wait_for_pods(kubectl, namespace, SERVERS)
    if name in WITH_POOL:
        pools.wait_ready(kubectl, namespace)
        pools.wait_for_count(kubectl, namespace, SERVERS)
    eventually("a greeting is answered", lambda: traffic.calls(kubectl, namespace, 1).ok == 1)
    return namespace

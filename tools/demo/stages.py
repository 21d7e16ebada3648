"""A stage of the example as each who calls it wants to find it."""

from __future__ import annotations

from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import eventually
from tools.demo import pools, traffic

WITH_POOL = ("3-lookaside", "4-pool", "5-xds")
SERVERS = 3


def settled(cluster: Cluster, name: str, namespace: str = "") -> str:
    """Install a stage, and wait until its three servers are ready, no other is left, and its pool, if any, lists them.

    And until its gateway reaches one: a busy node may take a while to lead to a Service that was just made. Returns its
    namespace, which is ``namespace`` where one is given.
    """
    namespace = deploy.stage(cluster, name, namespace)
    kubectl = deploy.kubectl_of(cluster)
    pools.wait_for_pods(kubectl, namespace, SERVERS)
    if name in WITH_POOL:
        pools.wait_ready(kubectl, namespace)
        pools.wait_for_count(kubectl, namespace, SERVERS)
    eventually("a greeting is answered", lambda: traffic.calls(kubectl, namespace, 1).ok == 1)
    return namespace

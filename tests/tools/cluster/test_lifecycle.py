"""The cluster on a host with fake programs: brought up from any state, and removed without traces."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.tools.cluster.fake_host import Host
from tools.cluster import lifecycle
from tools.cluster.cluster import Cluster
from tools.cluster.cluster_record import ClusterRecord
from tools.cluster.errors import ClusterError
from tools.cluster.settings import from_environment

NODES = ["backendpool-control-plane", "backendpool-worker", "backendpool-worker2"]
CREATED = "kind create cluster"


@contextmanager
def using(host: Host, environment: dict[str, str] | None = None) -> Iterator[Cluster]:
    """Run something that uses the cluster."""
    cache = {"XDG_CACHE_HOME": str(host.folder / "cache")}
    settings = from_environment(cache | (environment or {}), host.folder)
    with lifecycle.using(settings, host.console, "a test", with_images=False) as cluster:
        yield cluster


def up(host: Host, environment: dict[str, str] | None = None) -> Cluster:
    with using(host, environment) as cluster:
        return cluster


def down(host: Host) -> None:
    lifecycle.down(host.settings, host.console)


def test_a_cluster_comes_up_where_none_is(fake_host: Host) -> None:
    """A new cluster has three nodes and its own kubeconfig."""
    cluster = up(fake_host)
    assert [node.name for node in cluster.nodes] == NODES
    assert cluster.problems() == []
    assert cluster.kubeconfig.parent == fake_host.settings.cache


def test_a_healthy_cluster_is_used_again(fake_host: Host) -> None:
    """A healthy cluster is reused."""
    up(fake_host)
    up(fake_host)
    assert len(fake_host.calls(CREATED)) == 1
    assert "is healthy" in fake_host.said


def test_a_dead_node_means_a_new_cluster(fake_host: Host) -> None:
    """A cluster with a stopped node is deleted and created again."""
    up(fake_host)
    fake_host.change(nodes=dict.fromkeys(NODES, "running") | {NODES[1]: "exited"})
    cluster = up(fake_host)
    assert f"the container of node {NODES[1]} is not running" in fake_host.said
    assert len(fake_host.calls(CREATED)) == 2
    assert cluster.problems() == []


def test_a_cluster_of_other_making_is_replaced(fake_host: Host) -> None:
    """A cluster with another node image is replaced."""
    up(fake_host)
    up(fake_host, {"NODE_IMAGE": "example.com/node:1"})
    assert "another version of the sources" in fake_host.said
    assert "--image example.com/node:1" in fake_host.calls(CREATED)[1]


def test_a_cluster_in_use_is_neither_replaced_nor_deleted(fake_host: Host) -> None:
    """A cluster in use may be shared; replacing or deleting it fails and names the user."""
    with using(fake_host):
        with pytest.raises(ClusterError, match="a test"), using(fake_host, {"NODE_IMAGE": "example.com/node:1"}):
            pass
        with pytest.raises(ClusterError, match="a test"):
            down(fake_host)
        with using(fake_host) as shared:
            assert [node.name for node in shared.nodes] == NODES
    assert fake_host.calls("kind delete") == []
    down(fake_host)


def test_a_creation_that_fails_leaves_nothing_but_logs(fake_host: Host) -> None:
    """A failed creation leaves neither nodes nor network, and the error names the logs."""
    fake_host.change(creation="fails")
    with pytest.raises(ClusterError) as failed:
        up(fake_host)
    assert (fake_host.state["nodes"], fake_host.state["networks"]) == ({}, [])
    assert "failed to create cluster" in failed.value.report()
    assert (fake_host.settings.logs / "kind" / "kubelet.log").exists()
    assert str(fake_host.settings.logs / "kind") in failed.value.hint


def killed_while_it_makes_one(host: Host) -> None:
    """Kill a run after it has created the network and before the nodes."""
    host.change(creation="killed")
    environment = {
        "PATH": os.environ["PATH"],
        "FAKE_HOST": os.environ["FAKE_HOST"],
        "XDG_CACHE_HOME": str(host.settings.cache.parent),
    }
    command = [sys.executable, "-m", "tools.cluster", "up"]
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == -9
    host.change(creation="works")


def test_a_killed_run_is_gone_on_with(fake_host: Host) -> None:
    """A run replaces what a killed run left behind. The killed run's network is removed with the cluster."""
    killed_while_it_makes_one(fake_host)
    fake_host.change(nodes={NODES[0]: "running"})
    up(fake_host)
    assert "incomplete one is replaced" in fake_host.said
    down(fake_host)
    assert fake_host.state["networks"] == []


def test_what_a_killed_run_left_is_taken_down(fake_host: Host) -> None:
    """`down` also removes what a killed run left, even a network alone."""
    killed_while_it_makes_one(fake_host)
    assert fake_host.state["networks"] == ["kind"]
    down(fake_host)
    assert fake_host.state["networks"] == []


def test_down_leaves_the_host_as_it_was(fake_host: Host) -> None:
    """`down` removes nodes, network and kubeconfig; repeating it, or running it without an engine, does nothing."""
    up(fake_host)
    down(fake_host)
    assert (fake_host.state["nodes"], fake_host.state["networks"]) == ({}, [])
    assert not fake_host.settings.kubeconfig.exists()
    assert ClusterRecord.read(fake_host.settings) is None
    down(fake_host)
    assert len(fake_host.calls("kind delete")) == 1
    fake_host.change(engine=False)
    down(fake_host)


def test_a_network_that_was_there_before_stays(fake_host: Host) -> None:
    """A network that existed before is kept."""
    fake_host.change(networks=["kind"])
    up(fake_host)
    down(fake_host)
    assert fake_host.state["networks"] == ["kind"]


def test_without_a_cluster_none_is_found(fake_host: Host) -> None:
    """Without a cluster, the error says how to start one."""
    with pytest.raises(ClusterError) as missing:
        lifecycle.find(fake_host.settings, fake_host.console)
    assert "make cluster-up" in missing.value.hint


def test_the_status_says_what_is_wrong(fake_host: Host) -> None:
    """The status has the command to access the cluster, or its problems."""
    up(fake_host)
    assert lifecycle.status(fake_host.settings, fake_host.console)
    assert f"--kubeconfig={fake_host.settings.kubeconfig}" in fake_host.said
    fake_host.change(ready=False)
    assert not lifecycle.status(fake_host.settings, fake_host.console)
    assert f"node {NODES[0]} is not ready" in fake_host.said

"""Images of test clients, whose tags are hashes of their content."""

from pathlib import Path

import pytest

from tests.tools.cluster.fake_host import Host
from tools.cluster import images
from tools.cluster.cluster import Cluster
from tools.cluster.engine import find
from tools.cluster.errors import ClusterError
from tools.cluster.kind import Node

BUILT = "docker build "
LOADED = "kind load"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A client with one file."""
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM backendpool/greet:dev\nCOPY client /\n")
    (folder / "client").write_text("one")
    return folder


def delivered(host: Host, context: Path) -> str:
    host.change(images=sorted({*host.state["images"], "backendpool/greet:dev"}))
    nodes = (Node("control-plane", "control-plane", True), Node("worker", "worker", True))
    cluster = Cluster("ours", "ours", host.settings.kubeconfig, "kubectl", nodes, "kind", find(host.settings))
    return images.deliver_client("client", context, cluster, host.settings, host.console)


def test_a_client_is_built_and_copied_once(fake_host: Host, context: Path) -> None:
    """An unchanged client is built and copied to the workers once."""
    names = {delivered(fake_host, context) for _ in range(2)}
    (name,) = names
    assert name.startswith("backendpool/client:")
    assert [call.split()[-1] for call in fake_host.calls(BUILT)] == [str(context)]
    (copied,) = fake_host.calls(LOADED)
    assert name in copied
    assert copied.endswith("--nodes worker")


def test_another_client_has_another_name(fake_host: Host, context: Path) -> None:
    """A changed client gets another name, so other runs keep theirs."""
    before = delivered(fake_host, context)
    (context / "client").write_text("another")
    after = delivered(fake_host, context)
    assert after != before
    assert {before, after} <= set(fake_host.state["images"])


def test_no_client_is_pushed_to_a_cluster_of_the_users(fake_host: Host, context: Path) -> None:
    """For a user's cluster, loading a client fails with what to do instead."""
    cluster = Cluster("mine", "mine", fake_host.settings.kubeconfig, "kubectl")
    with pytest.raises(ClusterError, match="mine"):
        images.deliver_client("client", context, cluster, fake_host.settings, fake_host.console)
    assert fake_host.calls(BUILT) == []

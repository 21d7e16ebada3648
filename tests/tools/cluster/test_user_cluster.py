"""A cluster of the user's: used by its context and not changed."""

from dataclasses import replace

import pytest

from tests.tools.cluster.fake_host import Host
from tools.cluster import lifecycle
from tools.cluster.errors import ClusterError


@pytest.fixture
def mine(fake_host: Host) -> Host:
    """A host with a user's cluster and no engine."""
    fake_host.change(engine=False)
    return replace(fake_host, settings=replace(fake_host.settings, context="mine", kubeconfigs="/home/me/.kube/config"))


def test_a_named_cluster_is_reached_by_a_copy_of_its_context(mine: Host) -> None:
    """The copied kubeconfig is private and deleted by `down`; the cluster stays."""
    with lifecycle.using(mine.settings, mine.console, "a test", with_images=True) as cluster:
        assert (cluster.context, cluster.can_inject_faults) == ("mine", False)
        assert cluster.kubeconfig.read_text() == "kubeconfig of the user's\n"
        assert cluster.kubeconfig.stat().st_mode & 0o777 == 0o600
    lifecycle.down(mine.settings, mine.console)
    assert not cluster.kubeconfig.exists()
    assert mine.calls("kind") == mine.calls("docker") == []


def test_two_named_clusters_do_not_meet(mine: Host) -> None:
    """Two clusters have separate kubeconfigs and locks."""
    other = replace(mine.settings, context="other")
    assert len({mine.settings.kubeconfig, other.kubeconfig, replace(other, context=None).kubeconfig}) == 3
    assert len({mine.settings.lock, other.lock, replace(other, context=None).lock}) == 3


def test_the_images_that_it_must_have_are_named(mine: Host) -> None:
    """The images to push are named; nothing is pushed."""
    settings = replace(mine.settings, images="registry.example.com/backendpool")
    with lifecycle.using(settings, mine.console, "a test", with_images=True):
        pass
    assert "registry.example.com/backendpool/operator:dev" in mine.said
    assert "registry.example.com/backendpool/greet:dev" in mine.said


def test_an_unknown_context_is_an_error_with_a_way_on(mine: Host) -> None:
    """An unknown context is an error that says how to list contexts."""
    with pytest.raises(ClusterError) as unknown:
        lifecycle.find(replace(mine.settings, context="nobodys"), mine.console)
    assert "kubectl config get-contexts" in unknown.value.hint


def test_a_named_cluster_that_does_not_answer_is_an_error_with_a_way_on(mine: Host) -> None:
    """A cluster that does not respond is an error that says how to check it."""
    mine.change(ready=False)
    with pytest.raises(ClusterError) as silent:
        lifecycle.find(mine.settings, mine.console)
    assert "kubectl --context=mine get nodes" in silent.value.hint


def test_without_kubectl_it_is_said_where_to_get_it(mine: Host) -> None:
    """Without kubectl, the error says where to get it."""
    mine.remove("kubectl")
    with pytest.raises(ClusterError) as missing:
        lifecycle.find(mine.settings, mine.console)
    assert "https://kubernetes.io/docs/tasks/tools" in missing.value.hint

"""Settings from the environment."""

from pathlib import Path

import pytest

from tools.cluster.errors import ClusterError
from tools.cluster.settings import from_environment

HOME = Path("/home/someone")


def test_a_kind_cluster_of_our_own_is_the_default() -> None:
    """The default is our own kind cluster, with the cache in the home folder."""
    settings = from_environment({}, HOME)
    assert settings.context is None
    assert settings.node_image is None
    assert settings.cache == HOME / ".cache" / "backendpool"


def test_our_kubeconfig_is_never_the_users() -> None:
    """Even with KUBECONFIG, our kubeconfig is in the cache."""
    settings = from_environment({"KUBECONFIG": "/home/someone/.kube/config"}, HOME)
    assert settings.kubeconfig == settings.cache / "kubeconfig"


def test_a_context_names_a_cluster_of_the_users() -> None:
    """The name of a context may contain colons."""
    assert from_environment({"CLUSTER": "context:arn:aws:eks:cluster/a"}, HOME).context == "arn:aws:eks:cluster/a"


def test_the_cache_follows_the_xdg_standard() -> None:
    """XDG_CACHE_HOME sets the folder of the cache."""
    assert from_environment({"XDG_CACHE_HOME": "/big/disk"}, HOME).cache == Path("/big/disk/backendpool")


@pytest.mark.parametrize("cluster", ["kynd", "context:", "context", "minikube"])
def test_another_cluster_setting_is_refused_with_the_two_that_work(cluster: str) -> None:
    """Any other value of CLUSTER is an error that names the valid ones."""
    with pytest.raises(ClusterError) as refused:
        from_environment({"CLUSTER": cluster}, HOME)
    assert cluster in refused.value.message
    assert "CLUSTER=kind" in refused.value.hint
    assert "CLUSTER=context:NAME" in refused.value.hint


def test_a_cluster_of_the_users_may_have_other_images() -> None:
    """IMAGES is the prefix of image names in a user's cluster."""
    environment = {"CLUSTER": "context:mine", "IMAGES": "registry.example.com/backendpool/"}
    assert from_environment(environment, HOME).image("greet") == "registry.example.com/backendpool/greet:dev"
    assert from_environment({"CLUSTER": "context:mine"}, HOME).image("greet") == "backendpool/greet:dev"


def test_images_of_a_registry_are_refused_for_a_cluster_of_our_own() -> None:
    """IMAGES is an error for our own cluster, which does not pull them."""
    with pytest.raises(ClusterError) as refused:
        from_environment({"IMAGES": "registry.example.com/backendpool"}, HOME)
    assert "CLUSTER=context:NAME" in refused.value.hint

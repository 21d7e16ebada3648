"""A Kubernetes cluster for the demo and the e2e tests, on whatever machine this is.

    python -m tools.cluster up        a kind cluster of our own, healthy, in whatever state the last one was
    CLUSTER=context:NAME python -m ...    a cluster of the user's, which is used and never changed

One step, one module, in this order: `engine` (Docker, started by `dockerd` where there is none), `node_image` (pulled,
or built from source by `kubernetes_build` and `rootfs`), `binaries` (kind, kubectl), `kind` (the cluster), `images`
(the project's own, and test clients'). `lifecycle` puts them together. The package needs the standard library only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import images, lifecycle, settings
from tools.cluster.cluster import Cluster
from tools.cluster.console import Console
from tools.cluster.errors import ClusterError
from tools.cluster.kind import Node

__all__ = ["Cluster", "ClusterError", "Node", "down", "find", "image", "uses_user_cluster", "using"]


@contextmanager
def using(purpose: str, *, with_images: bool = True, alone: bool = False) -> Iterator[Cluster]:
    """A healthy cluster for the time of the block, as the environment's CLUSTER and NODE_IMAGE say.

    Unless told otherwise it holds the project's images, as the repository stands. Meanwhile nobody deletes the cluster
    or replaces what is on it, and with `alone` nobody else uses it; ClusterError tells who is in the way, or what.
    """
    with lifecycle.using(_settings(), Console(), purpose, with_images=with_images, alone=alone) as cluster:
        yield cluster


def find() -> Cluster:
    """The cluster that a run around this one uses; ClusterError where there is none."""
    return lifecycle.find(_settings(), Console())


def down() -> None:
    """Delete the cluster if it is our own, and forget it if it is one of the user's."""
    lifecycle.down(_settings(), Console())


def uses_user_cluster() -> bool:
    """Whether CLUSTER selects a cluster of the user's."""
    return _settings().context is not None


def image(target: str) -> str:
    """The name by which pods on the cluster run the project's image of this target of the Dockerfile."""
    return _settings().image(target)


def load_client(cluster: Cluster, name: str, context: Path) -> str:
    """Have the image of a test client on the workers of a cluster of ours, and return the name by which pods run it.

    `context` is a folder with its Dockerfile, which may begin with the greet image. The name's tag tells the content:
    what others run is not replaced, and what is there already is neither built nor copied.
    """
    return images.deliver_client(name, context, cluster, _settings(), Console())


def _settings() -> settings.Settings:
    return settings.from_environment(os.environ, Path.home())

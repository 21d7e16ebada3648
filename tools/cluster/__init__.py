"""A Kubernetes cluster for the demo and the e2e tests, on any machine.

    python -m tools.cluster up        bring up a healthy kind cluster, whatever state the last one is in
    CLUSTER=context:NAME python -m ...    use a cluster of the user's, and never change it

One module per step, in this order: `engine` (Docker, started by `dockerd` if there is none), `node_image` (pulled, or
built from source by `kubernetes_build` and `rootfs`), `binaries` (kind, kubectl), `kind` (the cluster), `images` (those
of the project and of test clients). `lifecycle` combines them. The package needs only the standard library.
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
    """Yield a healthy cluster, chosen by the variables CLUSTER and NODE_IMAGE.

    By default it holds the project's images of the current sources. During the block, nobody deletes the cluster or
    replaces its content; with `alone`, nobody else uses it. Raises ClusterError with the reason, or with the processes
    that use it.
    """
    with lifecycle.using(_settings(), Console(), purpose, with_images=with_images, alone=alone) as cluster:
        yield cluster


def find() -> Cluster:
    """Return the cluster of the enclosing run; raises ClusterError if there is none."""
    return lifecycle.find(_settings(), Console())


def down() -> None:
    """Delete our own cluster, or forget the user's."""
    lifecycle.down(_settings(), Console())


def uses_user_cluster() -> bool:
    """Return whether CLUSTER selects a cluster of the user's."""
    return _settings().context is not None


def image(target: str) -> str:
    """Return the name under which pods run the project's image of this Dockerfile target."""
    return _settings().image(target)


def load_client(cluster: Cluster, name: str, context: Path) -> str:
    """Build the image of a test client, load it onto the workers of our own cluster, and return its name.

    `context` is the folder of its Dockerfile, which may start from the greet image. The tag of the name is a hash of
    the content, so images of other runs are not replaced, and an existing one is neither built nor copied.
    """
    return images.deliver_client(name, context, cluster, _settings(), Console())


def _settings() -> settings.Settings:
    return settings.from_environment(os.environ, Path.home())

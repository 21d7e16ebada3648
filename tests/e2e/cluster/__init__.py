"""A Kubernetes cluster for the demo and the e2e tests, on whatever machine this is.

    python -m tests.e2e.cluster up        a kind cluster of our own, healthy, in whatever state the last one was
    CLUSTER=context:NAME python -m ...    a cluster of the user's, which is used and never changed

One step, one module, in this order: `engine` (Docker, started by `dockerd` where there is none), `node_image` (pulled,
or built from source by `kubernetes_build` and `rootfs`), `tools` (kind, kubectl), `kind` (the cluster), `images` (the
project's own). `lifecycle` puts them together. The standard library is all that this package needs.
"""

import os
from pathlib import Path

from . import images, lifecycle, settings
from .cluster import Cluster
from .console import Console
from .errors import ClusterError
from .kind import Node

__all__ = ["Cluster", "ClusterError", "Node", "ensure", "load_images"]


def ensure() -> Cluster:
    """A healthy cluster, as the environment's CLUSTER and NODE_IMAGE say; ClusterError says what to do otherwise."""
    return lifecycle.up(settings.from_environment(os.environ, Path.home()), Console())


def load_images(cluster: Cluster) -> None:
    """Build the project's images and copy them onto the cluster's workers, as far as they changed."""
    images.deliver(cluster, settings.from_environment(os.environ, Path.home()), Console())

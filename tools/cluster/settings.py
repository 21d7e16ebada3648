"""What the user can choose, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.cache import digest
from tools.cluster.errors import ClusterError

CLUSTER_NAME = "backendpool"
OWN_IMAGES = "backendpool"
PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parents[1]


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of one run.

    `context` is the kubeconfig context of a cluster that the user named, or None for a kind cluster of our own.
    `kubeconfigs` is where that context is looked up, as kubectl does (paths joined by colons).
    `images` is what the names of the project's images begin with.
    """

    context: str | None
    kubeconfigs: str
    images: str
    node_image: str | None
    debian_mirror: str | None
    cache: Path

    @property
    def kubeconfig(self) -> Path:
        """Our own kubeconfig: it holds one context, and the user's own file is never written."""
        return self._of_cluster("kubeconfig")

    @property
    def logs(self) -> Path:
        """Where steps write their logs."""
        return self.cache / "logs"

    @property
    def lock(self) -> Path:
        """What a run holds while it uses the cluster, or changes it."""
        return self._of_cluster("lock")

    def image(self, target: str) -> str:
        """The name of the project's image of this target of the Dockerfile."""
        return f"{self.images}/{target}:dev"

    def _of_cluster(self, name: str) -> Path:
        """A file of the cache that each cluster has for itself."""
        return self.cache / (name if self.context is None else f"{name}-{digest(self.context)}")


def from_environment(environ: Mapping[str, str], home: Path) -> Settings:
    """Read the settings; ClusterError when CLUSTER is neither `kind` nor `context:NAME`, or does not go with IMAGES."""
    cache_root = environ.get("XDG_CACHE_HOME") or str(home / ".cache")
    context = _context(environ.get("CLUSTER") or "kind")
    return Settings(
        context=context,
        images=_images(environ.get("IMAGES") or OWN_IMAGES, context),
        kubeconfigs=environ.get("KUBECONFIG") or str(home / ".kube" / "config"),
        node_image=environ.get("NODE_IMAGE") or None,
        debian_mirror=environ.get("DEBIAN_MIRROR") or None,
        cache=Path(cache_root) / "backendpool",
    )


def _context(cluster: str) -> str | None:
    if cluster == "kind":
        return None
    prefix, _, name = cluster.partition(":")
    if prefix == "context" and name:
        return name
    raise ClusterError(
        f"CLUSTER={cluster} is not understood",
        hint="leave it out or say CLUSTER=kind for a cluster of our own, CLUSTER=context:NAME for one of yours",
    )


def _images(prefix: str, context: str | None) -> str:
    if prefix != OWN_IMAGES and context is None:
        raise ClusterError(
            f"IMAGES={prefix} is for a cluster of yours: onto our own the images are copied from the engine",
            hint="leave IMAGES out, or say CLUSTER=context:NAME as well",
        )
    return prefix.rstrip("/")

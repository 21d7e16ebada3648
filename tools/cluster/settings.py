"""The user's choices, read once from the environment."""

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
    """The settings of one run.

    `context` is the kubeconfig context of a user's cluster, or None for our own kind cluster. `kubeconfigs` are the
    files with that context, as for kubectl (paths joined by colons). `images` is the prefix of the project's image
    names.
    """

    context: str | None
    kubeconfigs: str
    images: str
    node_image: str | None
    debian_mirror: str | None
    cache: Path

    @property
    def kubeconfig(self) -> Path:
        """Our own kubeconfig with one context; the user's file is never written."""
        return self._of_cluster("kubeconfig")

    @property
    def logs(self) -> Path:
        """The folder of the logs of all steps."""
        return self.cache / "logs"

    @property
    def lock(self) -> Path:
        """The lock that a run holds while it uses or changes the cluster."""
        return self._of_cluster("lock")

    def image(self, target: str) -> str:
        """Return the name of the image that the Dockerfile target builds."""
        return f"{self.images}/{target}:dev"

    def _of_cluster(self, name: str) -> Path:
        """Return a file in the cache that each cluster has for itself."""
        return self.cache / (name if self.context is None else f"{name}-{digest(self.context)}")


def from_environment(environ: Mapping[str, str], home: Path) -> Settings:
    """Read the settings; raises ClusterError for an invalid CLUSTER, or one that does not fit IMAGES."""
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
        f"invalid CLUSTER {cluster!r}: expected kind or context:NAME",
        hint="unset it or use CLUSTER=kind for a new kind cluster, CLUSTER=context:NAME for your own cluster",
    )


def _images(prefix: str, context: str | None) -> str:
    if prefix != OWN_IMAGES and context is None:
        raise ClusterError(
            f"IMAGES={prefix} applies to your own cluster only: images are copied into the kind cluster",
            hint="leave IMAGES out, or say CLUSTER=context:NAME as well",
        )
    return prefix.rstrip("/")

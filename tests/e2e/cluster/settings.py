"""What the user can choose, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError

CLUSTER_NAME = "backendpool"
PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parents[2]


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of one run.

    `context` is the kubeconfig context of a cluster that the user named, or None for a kind cluster of our own.
    `kubeconfigs` is where that context is looked up, as kubectl does (paths joined by colons).
    """

    context: str | None
    kubeconfigs: str
    node_image: str | None
    debian_mirror: str | None
    cache: Path

    @property
    def kubeconfig(self) -> Path:
        """Our own kubeconfig: it holds one context, and the user's own file is never written."""
        return self.cache / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Where steps write their logs."""
        return self.cache / "logs"

    @property
    def lock(self) -> Path:
        """What a run holds while it works on the cluster."""
        return self.cache / "lock"


def from_environment(environ: Mapping[str, str], home: Path) -> Settings:
    """Read the settings; ClusterError when CLUSTER is neither `kind` nor `context:NAME`."""
    cache_root = environ.get("XDG_CACHE_HOME") or str(home / ".cache")
    return Settings(
        context=_context(environ.get("CLUSTER") or "kind"),
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

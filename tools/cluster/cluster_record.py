"""The record of the last created cluster, for later runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.cluster import cache
from tools.cluster.settings import Settings


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The programs and the configuration of a cluster.

    It is written before the cluster is created, so that a killed run does not leak its network; `fingerprint` is None
    until the cluster is complete.
    """

    fingerprint: str | None
    kind: str
    kubectl: str
    made_network: bool

    @classmethod
    def read(cls, settings: Settings) -> "ClusterRecord | None":
        """Return the record of the last cluster, or None."""
        try:
            return cls(**json.loads(_file(settings).read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError):
            return None

    def write(self, settings: Settings) -> None:
        """Write the record atomically."""
        with cache.draft(_file(settings)) as path:
            path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def forget(settings: Settings) -> None:
    """Delete the record."""
    cache.remove(_file(settings))


def _file(settings: Settings) -> Path:
    return settings.cache / "cluster.json"

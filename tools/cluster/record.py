"""What a run notes of the cluster that it makes, for the runs after it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.cluster import cache
from tools.cluster.settings import Settings


@dataclass(frozen=True, slots=True)
class Record:
    """What a cluster is made of, and with.

    It is noted before the cluster is made, so that a run that is killed leaves no network behind which nobody knows;
    until the cluster is whole it has no `fingerprint`.
    """

    fingerprint: str | None
    kind: str
    kubectl: str
    made_network: bool

    @classmethod
    def read(cls, settings: Settings) -> "Record | None":
        """The record of the last cluster that was made, or None."""
        try:
            return cls(**json.loads(_file(settings).read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError):
            return None

    def write(self, settings: Settings) -> None:
        """Note it, whole or not at all."""
        with cache.draft(_file(settings)) as path:
            path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def forget(settings: Settings) -> None:
    """There is no cluster any more."""
    cache.remove(_file(settings))


def _file(settings: Settings) -> Path:
    return settings.cache / "cluster.json"

"""How kopf is set, so that it does what ``handlers`` has it for, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import kopf

from backendpool.k8s.client import PAGE
from backendpool.k8s.reflector import ReflectorTiming

_WATCH_SECONDS = 300
"""The server ends a watch after that time, so that its watches spread over all API servers again."""


class _ForEver:
    """Seconds between kopf's attempts to reach the API server; endless, else an outage ends kopf.

    kopf iterates over it anew for each request, so it is an iterable and not an iterator.
    """

    def __init__(self, timing: ReflectorTiming) -> None:
        self._timing = timing

    def __iter__(self) -> Iterator[float]:
        return map(self._timing.pause, count(1))


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing to compare with: kopf copies all of an object at each event, to tell handlers what changed in it."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def quiet_settings(timing: ReflectorTiming) -> kopf.OperatorSettings:
    """Those by which kopf watches through every outage, keeps nothing and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no right to watch CRDs and namespaces is asked for
    settings.posting.enabled = False  # our own events carry our own reasons
    settings.networking.error_backoffs = _ForEver(timing)
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.client_timeout = _WATCH_SECONDS + timing.idle_timeout
    settings.watching.inactivity_timeout = timing.idle_timeout
    settings.watching.chunk_size = PAGE
    # So long kopf holds on to each object after its last event: at a start, to all of them.
    settings.queueing.idle_timeout = 0.1
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings

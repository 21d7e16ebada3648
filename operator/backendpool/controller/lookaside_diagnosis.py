"""What ails a lookaside: its pods are asked where it is not all there for a while, and only then.

No watch is kept on pods, of which there are many and of which most never matter here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from backendpool.api.conditions import ConditionType, Reason, has_reason
from backendpool.api.pool import Pool, PoolKey
from backendpool.api.spec import PoolSpec
from backendpool.children.lookaside_pod import selector_labels
from backendpool.controller.diagnosis import why_unavailable
from backendpool.errors import ClusterError
from backendpool.k8s.client import Api
from backendpool.k8s.resources import PODS
from backendpool.runtime.clock import since_boot

_PATIENCE: Final = 10.0
"""Seconds that replicas may take to start, or to be replaced, without anybody asking why."""
_SOONEST: Final = 15.0
_LATEST: Final = 300.0
"""Seconds to the next look, for no watch tells what becomes of a pod: the longer it lasts, the more of them."""


class Examiner:
    """Finds out why replicas of lookasides are not available."""

    def __init__(self, api: Api, clock: Callable[[], float] = since_boot) -> None:
        self._api = api
        self._clock = clock
        self._since: dict[PoolKey, float] = {}

    async def examine(self, pool: Pool, deployment: Mapping[str, Any] | None) -> tuple[str, float | None]:
        """Why not all replicas are available, empty where all are or nobody knows; and when to look again."""
        if not deployment or not isinstance(pool.spec, PoolSpec) or not _missing(deployment):
            self.forget(pool.key)
            return "", None
        now = self._clock()
        lasted = now - self._since.setdefault(pool.key, now)
        if lasted < _PATIENCE and not _was_reported(pool):
            return "", _PATIENCE - lasted
        secret = pool.spec.lookaside.tls_secret
        problem = why_unavailable(deployment, await self._pods(pool), secret)
        return problem, min(max(lasted, _SOONEST), _LATEST)

    def forget(self, key: PoolKey) -> None:
        """All its replicas are there, or the pool is gone."""
        self._since.pop(key, None)

    async def _pods(self, pool: Pool) -> list[dict[str, Any]]:
        selector = ",".join(f"{key}={value}" for key, value in selector_labels(pool).items())
        try:
            page = await self._api.list_page(PODS, pool.namespace, label_selector=selector)
        except ClusterError:
            # Permissions of an older version, or an answer that cannot be read: no reason is known.
            return []
        found: list[dict[str, Any]] = page["items"]
        return found


def _missing(deployment: Mapping[str, Any]) -> bool:
    """Whether a replica is not available, be it one of a rollout that does not get on."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"]["replicas"]
    return bool(status.get("unavailableReplicas")) or (status.get("availableReplicas") or 0) < wanted


def _was_reported(pool: Pool) -> bool:
    """Whether the status reports a problem already: a restarted operator must not take it back first."""
    return has_reason(
        pool.status, ConditionType.LOOKASIDE_AVAILABLE, Reason.LOOKASIDE_UNAVAILABLE, Reason.LOOKASIDE_DEGRADED
    )

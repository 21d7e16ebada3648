"""Why replicas of a lookaside are unavailable, found in the status of its pods.

Pods are only listed while replicas are unavailable for a while. They are not watched: there are many, and most never
matter here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from backendpool.api.conditions import ConditionType, Reason, has_reason
from backendpool.api.pool import Pool, PoolKey
from backendpool.api.spec import PoolSpec
from backendpool.children.deployment_status import explain_unavailable, has_unavailable_replicas
from backendpool.children.lookaside import selector_labels
from backendpool.children.manifest import KubernetesObject
from backendpool.errors import ClusterError
from backendpool.k8s.client import Api
from backendpool.k8s.resources import PODS
from backendpool.runtime.clock import since_boot

_STARTUP_GRACE: Final = 10.0
"""Seconds in which replicas may start or be replaced before their pods are listed."""
_MIN_RECHECK: Final = 15.0
_MAX_RECHECK: Final = 300.0
"""Seconds to the next list, since no watch reports changes of pods; it grows with the duration of the problem."""


class LookasideDiagnosis:
    """Diagnoses unavailable lookasides; remembers since when each has been unavailable."""

    def __init__(self, api: Api, clock: Callable[[], float] = since_boot) -> None:
        self._api = api
        self._clock = clock
        self._since: dict[PoolKey, float] = {}

    async def diagnose(self, pool: Pool, deployment: KubernetesObject | None) -> tuple[str, float | None]:
        """Return why replicas are unavailable, and the seconds after which to check again.

        The reason is empty if all replicas are available or it is unknown.
        """
        if not deployment or not isinstance(pool.spec, PoolSpec) or not has_unavailable_replicas(deployment):
            self.forget(pool.key)
            return "", None
        now = self._clock()
        lasted = now - self._since.setdefault(pool.key, now)
        if lasted < _STARTUP_GRACE and not _was_reported(pool):
            return "", _STARTUP_GRACE - lasted
        problem = explain_unavailable(deployment, await self._list_pods(pool), pool.spec.lookaside.tls_secret)
        return problem, min(max(lasted, _MIN_RECHECK), _MAX_RECHECK)

    def forget(self, key: PoolKey) -> None:
        """Drop the state of a pool that is deleted or whose lookaside is available."""
        self._since.pop(key, None)

    async def _list_pods(self, pool: Pool) -> list[dict[str, Any]]:
        selector = ",".join(f"{key}={value}" for key, value in selector_labels(pool).items())
        try:
            page = await self._api.list_page(PODS, pool.namespace, label_selector=selector)
        except ClusterError:
            # Missing permissions (those of an older version) or a malformed response: the reason is unknown.
            return []
        found: list[dict[str, Any]] = page["items"]
        return found


def _was_reported(pool: Pool) -> bool:
    """Whether the status reports a problem already: a restarted operator must not take it back first."""
    return has_reason(
        pool.status, ConditionType.LOOKASIDE_AVAILABLE, Reason.LOOKASIDE_UNAVAILABLE, Reason.LOOKASIDE_DEGRADED
    )

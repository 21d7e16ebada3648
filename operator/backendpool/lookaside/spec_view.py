"""What the lookaside knows of its pool's spec: how calls are to be spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.pool import parse_pool
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector, ReflectorMetrics
from backendpool.k8s.resources import POOLS


class SpecView:
    """The pool's balancing, kept current by a watch; ``changed`` is called after each change.

    The last one stands where the pool is gone, or has a spec that this version cannot read; the default, where none was
    ever known.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        pool: str,
        changed: Callable[[], None],
        metrics: ReflectorMetrics | None = None,
    ) -> None:
        self._changed = changed
        self._balancing = DEFAULT
        self._reflector: Reflector[LoadBalancing] = Reflector(
            api,
            POOLS,
            _parse,
            self._take,
            namespace=namespace,
            field_selector=f"metadata.name={pool}",
            metrics=metrics,
        )

    async def run(self) -> NoReturn:
        """Follow the API server, for ever."""
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Return once the spec is known."""
        await self._reflector.wait_synced()

    def balancing(self) -> LoadBalancing | None:
        """The current one; None before it was first known."""
        return self._balancing if self._reflector.synced else None

    def unready(self) -> str | None:
        """Why it is not known yet; None once it is."""
        if self._reflector.synced:
            return None
        return f"the pool's spec is not known yet: {self._reflector.problem or 'reading it for the first time'}"

    def _take(self, old: LoadBalancing | None, new: LoadBalancing | None) -> None:
        if new is not None:
            self._balancing = new
            self._changed()


def _parse(obj: dict[str, Any]) -> LoadBalancing:
    return parse_pool(obj).valid_spec().balancing

"""Calls over backends: takes views of the pool, keeps one connection to each backend, and picks.

A change of the set costs what changed. A backend that stays keeps its channel and its connection; a new one
connects in the background and takes calls once it has; one that left finishes its calls, up to a grace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import Final

from backendpool.client.channels import Backend, Connection
from backendpool.client.picker import Picker, picker_for
from backendpool.client.view import PoolView
from backendpool.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.errors import NoBackendError
from backendpool.spec import EmptyPolicy, Policy

log = logging.getLogger(__name__)

Identity = tuple[str, int, str]

DRAIN_SECONDS: Final = 30.0
"""As long as Kubernetes gives a pod to end, unless it is told otherwise."""


class Balancer:
    """The backends of one pool; ``pool`` names it in messages, ``grace`` is in seconds.

    To be made in a running event loop, and ended by :meth:`aclose`.
    """

    def __init__(self, pool: str, *, grace: float = DRAIN_SECONDS) -> None:
        self._pool = pool
        self._grace = grace
        self._backends: dict[Identity, Backend] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._view: PoolView | None = None
        self._known = False
        self._settled = False
        self._policy = Policy.ROUND_ROBIN
        self._picker: Picker[Backend] = picker_for(self._policy)
        self._candidates: tuple[Backend, ...] = ()
        self._changed = asyncio.Event()

    @property
    def settled(self) -> bool:
        """Whether the pool was read, or found missing, and each of its backends tried; True for good then.

        Calls before that may find less than the whole pool.
        """
        return self._settled

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All backends, connected or not, in the order of the rotation."""
        return tuple(self._backends.values())

    def update(self, view: PoolView | None) -> None:
        """Take ``view`` for the pool from now on; None where there is none that may be read."""
        wanted = self._wanted(view)
        self._known, self._view = True, view
        self._take(wanted.endpoints)
        if view is not None and view.policy is not self._policy:
            self._policy, self._picker = view.policy, picker_for(view.policy)
            self._candidates = ()
        log.debug(
            "pool %s: revision %s, %d ready, %d draining",
            self._pool,
            wanted.revision,
            len(wanted.ready),
            len(wanted.draining),
            extra={"pool": self._pool, "revision": wanted.revision},
        )
        self._refresh()

    async def pick(self, timeout: float, avoid: Collection[Backend] = ()) -> Backend:
        """The backend for the next call, which must be begun before anything else is awaited.

        Waits up to ``timeout`` seconds while the pool is not known yet or a connection is being made.
        One of ``avoid`` is picked only where there is no other. Raises :class:`NoBackendError` as soon as it is
        clear that there is none.
        """
        if self._candidates:
            return self._picker.pick(avoid)
        try:
            async with asyncio.timeout(timeout):
                while not self._candidates:
                    self._raise_if_hopeless()
                    await self._changed.wait()
        except TimeoutError:
            waited = "connecting to its backends" if self._known else "without a list of its endpoints"
            raise NoBackendError(f"the pool {self._pool}: still {waited} after {timeout:.3g} s") from None
        return self._picker.pick(avoid)

    def reconnect(self, backend: Backend) -> None:
        """Give up the connection of a backend that takes calls and answers none, and make another.

        It is picked again when that one is up, which takes a server that speaks. Calls under way may still be
        answered.
        """
        identity = backend.endpoint.identity
        if self._backends.get(identity) is not backend:
            return
        log.info("pool %s: backend %s is silent: connecting anew", self._pool, backend.endpoint.target)
        self._backends[identity] = Backend(backend.endpoint, self._connection_changed)
        self._retire(backend, self._grace)
        self._refresh()

    async def aclose(self, grace: float | None = None) -> None:
        """Close all connections; calls under way get ``grace`` seconds to finish (by default, the drain's)."""
        for backend in self._backends.values():
            self._retire(backend, self._grace if grace is None else grace)
        self._backends = {}
        self._refresh()
        if self._closing:
            await asyncio.wait(self._closing)

    def _wanted(self, view: PoolView | None) -> EndpointSet:
        """The endpoints to use. Where none is left, those of before if the pool's author wants them kept."""
        found = view.endpoints if view is not None else EndpointSet.of(())
        policy = view or self._view
        if found.endpoints or policy is None or policy.empty_policy is not EmptyPolicy.KEEP_LAST:
            return found
        kept = EndpointSet.of(backend.endpoint for backend in self._backends.values())
        log.warning("pool %s has no endpoint left: keeping the last %d", self._pool, len(kept.endpoints))
        return kept

    def _take(self, endpoints: Iterable[Endpoint]) -> None:
        """Keep the backends that stay, connect to the new ones, retire those that left."""
        before, self._backends = self._backends, {}
        for endpoint in endpoints:
            backend = before.pop(endpoint.identity, None)
            if backend is None:
                log.debug("pool %s: backend %s joins", self._pool, endpoint.target, extra=_fields(endpoint))
                backend = Backend(endpoint, self._connection_changed)
            elif backend.endpoint.state is not endpoint.state:
                log.debug(
                    "pool %s: backend %s is %s", self._pool, endpoint.target, endpoint.state, extra=_fields(endpoint)
                )
            backend.endpoint = endpoint
            self._backends[endpoint.identity] = backend
        for backend in before.values():
            log.debug(
                "pool %s: backend %s leaves", self._pool, backend.endpoint.target, extra=_fields(backend.endpoint)
            )
            self._retire(backend, self._grace)

    def _retire(self, backend: Backend, grace: float) -> None:
        task = asyncio.create_task(backend.close(grace))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _connection_changed(self, backend: Backend) -> None:
        target, connection = backend.endpoint.target, backend.connection
        log.debug("pool %s: backend %s is %s", self._pool, target, connection, extra=_fields(backend.endpoint))
        self._refresh()

    def _refresh(self) -> None:
        """Work out who may take a call, and wake those who wait for it."""
        candidates = _candidates(self._backends.values())
        if candidates != self._candidates:
            self._candidates = candidates
            self._picker.replace(candidates)
        self._settled = self._settled or not self._is_pending()
        self._changed.set()
        self._changed = asyncio.Event()

    def _is_pending(self) -> bool:
        """Whether more may be had by waiting."""
        return not self._known or any(b.connection is Connection.CONNECTING for b in self._backends.values())

    def _raise_if_hopeless(self) -> None:
        if self._is_pending():
            return
        if self._backends:
            some = ", ".join(backend.endpoint.target for backend in self.backends[:3])
            raise NoBackendError(
                f"none of the {len(self._backends)} backends of {self._pool} can be connected to ({some}): "
                "check that they listen on the pool's port, and that no NetworkPolicy is in the way"
            )
        if self._view is None:
            raise NoBackendError(
                f"there is no pool {self._pool} that may be read: apply a GrpcBackendPool of that name, with this "
                "client's service account among its spec.readers"
            )
        raise NoBackendError(f"the pool {self._pool} has no endpoint: {_advice(self._pool)}")


def _candidates(backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """The Ready ones that are connected. Draining ones only where no Ready one is, nor is about to be."""
    ready: list[Backend] = []
    draining: list[Backend] = []
    awaited = False
    for backend in backends:
        is_ready = backend.endpoint.state is EndpointState.READY
        if backend.connection is Connection.CONNECTED:
            (ready if is_ready else draining).append(backend)
        elif backend.connection is Connection.CONNECTING and is_ready:
            awaited = True
    return tuple(ready) if ready or awaited else tuple(draining)


def _advice(pool: str) -> str:
    namespace, _, name = pool.rpartition("/")
    return f"see kubectl describe gbp {name} -n {namespace}"


def _fields(endpoint: Endpoint) -> dict[str, str]:
    return {"backend": endpoint.target, "pod": endpoint.pod_name, "zone": endpoint.zone}

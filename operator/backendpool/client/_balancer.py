"""Balancer: one subchannel for each endpoint of a pool, and a pick for each call.

An update costs what changed. An endpoint that stays keeps its connection, a new one connects in the background and
takes calls once it is connected, and one that is removed finishes its calls, up to the drain timeout.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from typing import Final

from grpc import ChannelConnectivity

from backendpool.api.endpoints import Endpoint, EndpointSet
from backendpool.api.load_balancing import EmptyPolicy
from backendpool.api.pool import PoolView
from backendpool.client._options import DEFAULT, KeyOf, Options
from backendpool.client._policies.candidate import Identity
from backendpool.client._policies.subsetting import subset
from backendpool.client._selection import PERIOD, Selection
from backendpool.client._status import BackendStatus, absent, empty, status_of, unreachable
from backendpool.client._subchannel import PLAINTEXT, Connection, Dial, DrainingSubchannels, Subchannel, connect_stagger
from backendpool.errors import NoBackendError
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)

_UNTIL_DONE: Final = 3600.0
"""Drain timeout in seconds of a stalled connection: it may be one call that stalls, and the others finish."""


class PickTimeout(NoBackendError):
    """No backend took calls before the deadline."""


class Balancer:
    """The subchannels of one pool; ``pool`` names it in messages, ``dial`` makes the channel to an endpoint.

    ``initialized`` turns True, for good, once the pool was read or found missing and each backend was tried. Calls
    before that may see only a part of the pool. ``view`` is the last update.

    Update it in a running event loop, and end it by :meth:`aclose`.
    """

    def __init__(self, pool: str, options: Options = DEFAULT, dial: Dial = PLAINTEXT) -> None:
        self.pool = pool
        self._log = FieldLogger(log, pool=pool)
        self._options = options
        self._dial = dial
        self._salt = random.randbytes(16)
        self._subchannels: dict[Identity, Subchannel] = {}
        self._draining = DrainingSubchannels()
        self.view: PoolView | None = None
        self.initialized = self._resolved = False
        self._resolver_error: Exception | None = None
        self._empty_policy = EmptyPolicy.FAIL
        self._selection = Selection(pool, options)
        self._changed = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None

    @property
    def subchannels(self) -> tuple[Subchannel, ...]:
        """All subchannels, connected or not, in the order of the rotation."""
        return tuple(self._subchannels.values())

    def totals(self) -> tuple[int, int]:
        """Return calls started and calls failed, of all backends that the pool ever had."""
        return self._draining.totals(self.subchannels)

    def status(self) -> tuple[BackendStatus, ...]:
        """Return the status of each backend."""
        return tuple(status_of(one, self._selection.ejected(one)) for one in self.subchannels)

    def update(self, view: PoolView | None) -> None:
        """Balance over ``view`` from now on; None if there is no pool that may be read."""
        self._ticker = self._ticker or asyncio.create_task(self._tick())
        if view is not None:
            self._configure(view)
        endpoints = self._effective_endpoints(view)
        self._resolved, self.view = True, view
        self._update_subchannels(endpoints.endpoints)
        self._log.debug(
            "Updated the endpoints", extra={"revision": endpoints.revision, "endpoints": len(endpoints.endpoints)}
        )
        self._refresh()

    def resolver_failed(self, error: Exception) -> None:
        """Fail calls with ``error``: no update will ever come."""
        self._resolved, self._resolver_error = True, error
        self._refresh()

    @property
    def key_of(self) -> KeyOf | None:
        """Computes a call's hash key; None unless the policy is consistent hashing."""
        return self._selection.key_of

    def pick_now(self, key: Callable[[], bytes | None]) -> Subchannel | None:
        """Pick for the next call without waiting; None if no backend takes calls.

        Start the call before anything is awaited. ``key`` returns the call's hash key, and is called only if needed.
        """
        selection = self._selection
        if not selection.candidates:
            return None
        return selection.pick() if selection.key_of is None else selection.pick((), key())

    async def pick(
        self,
        timeout: float | None,
        avoid: Collection[Subchannel] = (),
        key: Callable[[], bytes | None] = lambda: None,
        *,
        wait_for_ready: bool = False,
    ) -> Subchannel:
        """Pick as :meth:`pick_now`, but wait while the pool is unknown or a backend is connecting.

        One of ``avoid`` is picked only if there is no other. Raises :class:`PickTimeout` after ``timeout`` seconds,
        and without ``wait_for_ready`` :class:`~backendpool.errors.NoBackendError` as soon as waiting cannot help.
        """
        selection = self._selection
        try:
            async with asyncio.timeout(timeout):
                while not selection.candidates:
                    if not wait_for_ready:
                        self._raise_if_unavailable()
                    await self.wait_for_change()
        except TimeoutError:
            waited = "connecting to its backends" if self._resolved else "without a list of its endpoints"
            raise PickTimeout(f"the pool {self.pool}: still {waited} after {timeout:.3g} s") from None
        return selection.pick(avoid, key())

    @property
    def connectivity(self) -> ChannelConnectivity:
        """The best state of all backends, as gRPC's policies aggregate them (gRFC A62)."""
        if self._selection.candidates:
            return ChannelConnectivity.READY
        return ChannelConnectivity.CONNECTING if self._is_pending() else ChannelConnectivity.TRANSIENT_FAILURE

    async def wait_for_change(self) -> None:
        """Wait until backends are added or removed, or the connection of one changes."""
        await self._changed.wait()

    def reconnect(self, subchannel: Subchannel) -> None:
        """Replace the connection of a stalled backend, which takes calls and answers none (ADR 5).

        The backend is picked again once the new connection is up. Calls in flight on the old one may still be answered.
        """
        identity = subchannel.identity
        if self._subchannels.get(identity) is not subchannel:
            return
        self._log.info("Backend does not respond, reconnecting", extra=_log_fields(subchannel.endpoint))
        self._subchannels[identity] = Subchannel(subchannel.endpoint, self._connection_changed, self._dial)
        self._subchannels[identity].inherit_counters(subchannel)
        self._draining.drain(subchannel, _UNTIL_DONE)
        self._refresh()

    async def aclose(self, grace: float | None = None) -> None:
        """Close all connections; calls in flight have ``grace`` seconds to finish (default: the drain timeout)."""
        if self._ticker is not None:
            self._ticker.cancel()
        grace = self._options.drain_timeout if grace is None else grace
        for subchannel in self._subchannels.values():
            self._draining.drain(subchannel, grace)
        self._subchannels = {}
        self._refresh()
        await self._draining.aclose(grace)

    def _configure(self, view: PoolView) -> None:
        """Apply the pool's load balancing, which stays in effect if the pool is deleted."""
        self._empty_policy = view.balancing.empty_policy
        self._selection.configure(view.balancing)
        if view.endpoints.truncated and not (self.view and self.view.endpoints.truncated):
            self._log.warning(
                "Pool has more endpoints than its status lists, calling only the listed ones",
                extra={"endpoints": len(view.endpoints.endpoints)},
            )

    def _effective_endpoints(self, view: PoolView | None) -> EndpointSet:
        """Return the view's endpoints; if there are none and emptyPolicy is KeepLast, those in use."""
        found = view.endpoints if view is not None else EndpointSet.of(())
        if found.endpoints or not self._subchannels or self._empty_policy is not EmptyPolicy.KEEP_LAST:
            return found
        kept = EndpointSet.of(one.endpoint for one in self._subchannels.values())
        self._log.warning("Pool has no endpoints, keeping the last ones", extra={"endpoints": len(kept.endpoints)})
        return kept

    def _update_subchannels(self, endpoints: Collection[Endpoint]) -> None:
        """Keep the subchannels of endpoints that stay, connect to new ones, drain those that were removed."""
        before, self._subchannels = self._subchannels, {}
        if self._options.subset:
            endpoints = subset(endpoints, self._options.subset, self._salt)
        wanted = {endpoint.identity: endpoint for endpoint in endpoints}
        new = wanted.keys() - before.keys()
        delays = dict(zip(new, connect_stagger(len(new)), strict=True))
        for identity, endpoint in wanted.items():
            subchannel = before.pop(identity, None)
            if subchannel is None:
                self._log.debug("Added a backend", extra=_log_fields(endpoint))
                subchannel = Subchannel(endpoint, self._connection_changed, self._dial, delays[identity])
            elif subchannel.endpoint.state is not endpoint.state:
                self._log.debug("Backend changed its state", extra=_log_fields(endpoint))
            subchannel.endpoint = endpoint
            self._subchannels[identity] = subchannel
        for subchannel in before.values():
            self._log.debug("Removed a backend", extra=_log_fields(subchannel.endpoint))
            self._draining.drain(subchannel, self._options.drain_timeout)

    def _connection_changed(self, subchannel: Subchannel) -> None:
        self._log.debug(
            "Connection to a backend changed",
            extra={**_log_fields(subchannel.endpoint), "connection": subchannel.connection},
        )
        self._refresh()

    def _refresh(self) -> None:
        """Recompute who can be picked, and wake the calls that wait for a backend."""
        self._selection.replace(self.subchannels)
        self.initialized = self.initialized or not self._is_pending()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            self._selection.tick()

    def _is_pending(self) -> bool:
        """Whether waiting may bring a backend."""
        connecting = (one.connection is Connection.CONNECTING for one in self._subchannels.values())
        return not self._resolved or any(connecting)

    def _raise_if_unavailable(self) -> None:
        if self._is_pending():
            return
        if self._resolver_error is not None:
            raise NoBackendError(str(self._resolver_error))
        if self._subchannels:
            raise NoBackendError(unreachable(self.pool, [one.endpoint for one in self.subchannels]))
        raise NoBackendError(absent(self.pool) if self.view is None else empty(self.pool))


def _log_fields(endpoint: Endpoint) -> dict[str, object]:
    return {
        "backend": endpoint.target,
        "pod": endpoint.pod_name or None,
        "zone": endpoint.zone or None,
        "state": endpoint.state,
    }

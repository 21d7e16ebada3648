"""Calls over backends: takes views of the pool, keeps one connection to each backend, and picks.

A change of the set costs what changed. A backend that stays keeps its channel and its connection; a new one
connects in the background and takes calls once it has; one that left finishes its calls, up to a grace.
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
from backendpool.client.options import DEFAULT, KeyOf, Options
from backendpool.client.policies.candidate import Identity
from backendpool.client.policies.subsetting import subset
from backendpool.client.selection import PERIOD, Selection
from backendpool.client.status import BackendStatus, absent, empty, status_of, unreachable
from backendpool.client.subchannel import PLAINTEXT, Backend, Connection, Dial, Retiring, delays
from backendpool.errors import NoBackendError

log = logging.getLogger(__name__)

_UNTIL_DONE: Final = 3600.0
"""Seconds for the calls on a connection that fell silent, which may be the fault of one call: as good as for ever."""


class PickTimeout(NoBackendError):
    """No backend took calls before the deadline."""


class Balancer:
    """The backends of one pool; ``pool`` names it in messages. ``dial`` makes a backend's channel.

    ``settled`` says whether the pool was read, or found missing, and each of its backends tried, and is True for good
    then. Calls before that may find less than the whole pool. ``view`` is what was told last.

    To be told in a running event loop, and ended by :meth:`aclose`.
    """

    def __init__(self, pool: str, options: Options = DEFAULT, dial: Dial = PLAINTEXT) -> None:
        self.pool = pool
        self._options = options
        self._dial = dial
        self._salt = random.randbytes(16)
        self._backends: dict[Identity, Backend] = {}
        self._retiring = Retiring()
        self.view: PoolView | None = None
        self.settled = self._known = False
        self._fault: Exception | None = None
        self._empty_policy = EmptyPolicy.FAIL
        self._selection = Selection(pool, options)
        self._changed = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All backends, connected or not, in the order of the rotation."""
        return tuple(self._backends.values())

    def totals(self) -> tuple[int, int]:
        """Attempts at calls that were sent to any backend so far, and those of them that failed."""
        return self._retiring.totals(self.backends)

    def status(self) -> tuple[BackendStatus, ...]:
        """What is known of each of them."""
        return tuple(status_of(backend, self._selection.ejected(backend)) for backend in self.backends)

    def update(self, view: PoolView | None) -> None:
        """Take ``view`` for the pool from now on; None where there is none that may be read."""
        self._ticking = self._ticking or asyncio.create_task(self._tick())
        if view is not None:
            self._adopt(view)
        wanted = self._wanted(view)
        self._known, self.view = True, view
        self._take(wanted.endpoints)
        log.debug(
            "pool %s: revision %s, %d endpoints",
            self.pool,
            wanted.revision,
            len(wanted.endpoints),
            extra={"pool": self.pool, "revision": wanted.revision},
        )
        self._refresh()

    def abandon(self, fault: Exception) -> None:
        """Nothing will ever be told of the pool, for the reason that ``fault`` gives."""
        self._known, self._fault = True, fault
        self._refresh()

    @property
    def key_of(self) -> KeyOf | None:
        """How the key of a call is had; None where the policy needs none."""
        return self._selection.key_of

    def pick_now(self, key: Callable[[], bytes | None]) -> Backend | None:
        """The backend for the next call, which must be begun before anything is awaited; None where none takes calls.

        ``key`` gives that of the call, and is asked only where the policy goes by it.
        """
        selection = self._selection
        if not selection.candidates:
            return None
        return selection.pick() if selection.key_of is None else selection.pick((), key())

    async def pick(
        self,
        timeout: float | None,
        avoid: Collection[Backend] = (),
        key: Callable[[], bytes | None] = lambda: None,
        *,
        wait_for_ready: bool = False,
    ) -> Backend:
        """As :meth:`pick_now`, and waits for a backend while the pool is not known yet or a connection is being made.

        Raises :class:`PickTimeout` after ``timeout`` seconds, and without ``wait_for_ready``
        :class:`~backendpool.errors.NoBackendError` as soon as it is clear that there is none. One of ``avoid`` is
        picked only where there is no other.
        """
        selection = self._selection
        try:
            async with asyncio.timeout(timeout):
                while not selection.candidates:
                    if not wait_for_ready:
                        self._raise_if_hopeless()
                    await self.change()
        except TimeoutError:
            waited = "connecting to its backends" if self._known else "without a list of its endpoints"
            raise PickTimeout(f"the pool {self.pool}: still {waited} after {timeout:.3g} s") from None
        return selection.pick(avoid, key())

    @property
    def connectivity(self) -> ChannelConnectivity:
        """The states of all backends as one, as gRPC's policies have it (gRFC A62): the best there is."""
        if self._selection.candidates:
            return ChannelConnectivity.READY
        return ChannelConnectivity.CONNECTING if self._is_pending() else ChannelConnectivity.TRANSIENT_FAILURE

    async def change(self) -> None:
        """Wait until backends came or went, or the connection of one changed."""
        await self._changed.wait()

    def reconnect(self, backend: Backend) -> None:
        """Give up the connection of a backend that takes calls and answers none, and make another.

        It is picked again when that one is up, which takes a server that speaks. Calls under way may still be
        answered.
        """
        identity = backend.endpoint.identity
        if self._backends.get(identity) is not backend:
            return
        log.info("pool %s: backend %s is silent: connecting anew", self.pool, backend.endpoint.target)
        self._backends[identity] = Backend(backend.endpoint, self._connection_changed, self._dial)
        self._backends[identity].succeed(backend)
        self._retiring.retire(backend, _UNTIL_DONE)
        self._refresh()

    async def aclose(self, grace: float | None = None) -> None:
        """Close all connections; calls under way get ``grace`` seconds to finish (by default, the drain's)."""
        if self._ticking is not None:
            self._ticking.cancel()
        grace = self._options.drain if grace is None else grace
        for backend in self._backends.values():
            self._retiring.retire(backend, grace)
        self._backends = {}
        self._refresh()
        await self._retiring.aclose(grace)

    def _adopt(self, view: PoolView) -> None:
        """Do from now on as the pool's author wants it, also once there is no pool any more."""
        self._empty_policy = view.balancing.empty_policy
        self._selection.adopt(view.balancing)
        if view.endpoints.truncated and not (self.view and self.view.endpoints.truncated):
            log.warning(
                "pool %s has more than the %d endpoints that its status lists: the others get no calls from here",
                self.pool,
                len(view.endpoints.endpoints),
            )

    def _wanted(self, view: PoolView | None) -> EndpointSet:
        """The endpoints to use. Where none is left, those of before if the pool's author wants them kept."""
        found = view.endpoints if view is not None else EndpointSet.of(())
        if found.endpoints or not self._backends or self._empty_policy is not EmptyPolicy.KEEP_LAST:
            return found
        kept = EndpointSet.of(backend.endpoint for backend in self._backends.values())
        log.warning("pool %s has no endpoint left: keeping the last %d", self.pool, len(kept.endpoints))
        return kept

    def _take(self, endpoints: Collection[Endpoint]) -> None:
        """Keep the backends that stay, connect to the new ones, retire those that left."""
        before, self._backends = self._backends, {}
        if self._options.subset:
            endpoints = subset(endpoints, self._options.subset, self._salt)
        wanted = {endpoint.identity: endpoint for endpoint in endpoints}
        new = wanted.keys() - before.keys()
        pauses = dict(zip(new, delays(len(new)), strict=True))
        for identity, endpoint in wanted.items():
            backend = before.pop(identity, None)
            if backend is None:
                self._tell(endpoint, "joins")
                backend = Backend(endpoint, self._connection_changed, self._dial, pauses[identity])
            elif backend.endpoint.state is not endpoint.state:
                self._tell(endpoint, f"is {endpoint.state}")
            backend.endpoint = endpoint
            self._backends[identity] = backend
        for backend in before.values():
            self._tell(backend.endpoint, "leaves")
            self._retiring.retire(backend, self._options.drain)

    def _connection_changed(self, backend: Backend) -> None:
        self._tell(backend.endpoint, f"is {backend.connection}")
        self._refresh()

    def _tell(self, endpoint: Endpoint, what: str) -> None:
        fields = {"backend": endpoint.target, "pod": endpoint.pod_name, "zone": endpoint.zone}
        log.debug("pool %s: backend %s %s", self.pool, endpoint.target, what, extra=fields)

    def _refresh(self) -> None:
        """Work out who may take a call, and wake those who wait for it."""
        self._selection.replace(self.backends)
        self.settled = self.settled or not self._is_pending()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            self._selection.tick()

    def _is_pending(self) -> bool:
        """Whether more may be had by waiting."""
        return not self._known or any(b.connection is Connection.CONNECTING for b in self._backends.values())

    def _raise_if_hopeless(self) -> None:
        if self._is_pending():
            return
        if self._fault is not None:
            raise NoBackendError(str(self._fault))
        if self._backends:
            raise NoBackendError(unreachable(self.pool, [backend.endpoint for backend in self.backends]))
        raise NoBackendError(absent(self.pool) if self.view is None else empty(self.pool))

"""Selection: which of a pool's subchannels gets the next call, by policy, outlier ejection, zone and weight.

Calls are observed only if the policy or outlier detection needs to know how they end, since that doubles the cost of a
pick.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection
from typing import Final

import grpc.aio
from grpc import StatusCode

from backendpool.api.endpoints import EndpointState
from backendpool.api.load_balancing import DEFAULT, LoadBalancing, Policy, Preference
from backendpool.client._options import KeyOf, Options, key_of
from backendpool.client._outcome import now as outcome
from backendpool.client._picker import Picker, ZonePicker, picker_for
from backendpool.client._policies.candidate import Identity
from backendpool.client._policies.load_report import TRAILER, UPDATE_PERIOD, LoadWeights
from backendpool.client._policies.outliers import Stats, sweep, usable
from backendpool.client._policies.penalty import Penalty
from backendpool.client._subchannel import Connection, Subchannel
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)

PERIOD: Final = UPDATE_PERIOD
"""Seconds from one :meth:`Selection.tick` to the next."""

_OBSERVING: Final = frozenset({Policy.LEAST_REQUEST, Policy.WEIGHTED_ROUND_ROBIN})
"""Policies that depend on how calls end."""


class Selection:
    """The picker of pool ``name`` and its candidates; ``options`` override the pool's :class:`LoadBalancing`.

    ``pick`` is :meth:`.Picker.pick`, and must not be called while there are no ``candidates``. ``key_of`` computes a
    call's hash key, and is None unless the policy is consistent hashing.
    """

    def __init__(self, name: str, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self.candidates: tuple[Subchannel, ...] = ()
        self.key_of: KeyOf | None = None
        self._log = FieldLogger(log, pool=name)
        self._options = options
        self._clock = clock
        self._eligible: tuple[Subchannel, ...] = ()
        self._pool: Collection[Subchannel] = ()
        self._stats: dict[Identity, Stats] = {}
        self._swept = clock()
        self._weights: LoadWeights[Identity] = LoadWeights()
        self._balancing = options.over(DEFAULT)
        self._reset_picker()

    def configure(self, balancing: LoadBalancing) -> None:
        """Apply the pool's ``balancing``; a new picker is made only if something changed."""
        wanted = self._options.over(balancing)
        if wanted != self._balancing:
            self._balancing = wanted
            self._reset_picker()

    def replace(self, pool: Collection[Subchannel]) -> None:
        """Pick from ``pool``, all subchannels of the pool. Call it also when the connection of one changes."""
        for backend in set(self._pool).difference(pool) if self._is_reported else ():
            self._weights.forget(backend.identity)
        self._eligible, self._pool = _eligible(pool), pool
        if self._balancing.outliers is None:
            self._stats = {}
        else:
            self._stats = {b.identity: self._stats.get(b.identity) or Stats() for b in pool}
        observer = self._call_done if self._observes else None
        for backend in pool:
            backend.observer = observer
        self._weigh()
        self._select()

    def ejected(self, backend: Subchannel) -> bool:
        """Whether outlier detection ejected ``backend``."""
        stats = self._stats.get(backend.identity)
        return stats is not None and stats.ejected

    def tick(self) -> None:
        """Eject outliers and update weights; call it every :data:`PERIOD` seconds."""
        outliers = self._balancing.outliers
        if outliers is not None and self._clock() - self._swept >= outliers.interval:
            self._swept = self._clock()
            before, self._stats = self._stats, sweep(self._swept, self._stats, outliers)
            self._report_ejections(before)
            self._select()
        if self._is_weighted:
            self._weigh()
            self._picker.refresh()

    def _reset_picker(self) -> None:
        """Make the picker that the load balancing in effect asks for."""
        wanted = self._balancing
        self.key_of = key_of(wanted, self._options.hash_key)
        self._picker: Picker[Subchannel]
        if wanted.prefer is Preference.ZONE and self._options.zone:
            self._picker = ZonePicker(self._options.zone, self._make_picker, lambda: self._pool)
        else:
            self._picker = self._make_picker()
        self.pick = self._picker.pick
        self.candidates = ()
        self.replace(self._pool)

    @property
    def _is_reported(self) -> bool:
        """Whether weights come from the load reports in trailers."""
        return self._balancing.policy is Policy.WEIGHTED_ROUND_ROBIN

    @property
    def _is_weighted(self) -> bool:
        return self._is_reported or self._ramps

    @property
    def _ramps(self) -> bool:
        """Whether slow start turns a round robin into a weighted one."""
        return self._options.slow_start.window > 0 and self._balancing.policy is Policy.ROUND_ROBIN

    @property
    def _observes(self) -> bool:
        return self._balancing.policy in _OBSERVING or self._balancing.outliers is not None

    def _make_picker(self) -> Picker[Subchannel]:
        return picker_for(Policy.WEIGHTED_ROUND_ROBIN if self._is_weighted else self._balancing.policy, random)

    def _select(self) -> None:
        candidates = usable(self._eligible, self._stats, len(self._pool))
        if candidates != self.candidates:
            self.candidates = candidates
            self._picker.replace(candidates)

    def _weigh(self) -> None:
        if not self._is_weighted:
            return
        now, slow_start = self._clock(), self._options.slow_start
        is_given = self._is_reported and any(backend.endpoint.weight for backend in self._pool)
        for backend in self._eligible:
            # Weights of the endpoint set override reported ones: the two have different units.
            backend.weight = backend.endpoint.weight if is_given else self._weights.weight(backend.identity, now)
            backend.ramp = slow_start.ramp(now - backend.connected_at)

    def _call_done(self, backend: Subchannel, call: grpc.aio.Call) -> None:
        """Record how a call ended. A call that its caller cancelled says nothing about the backend."""
        if call.cancelled():
            return
        is_ok = outcome(call.code()) is StatusCode.OK
        stats = self._stats.get(backend.identity)
        if stats is not None:
            stats.successes += is_ok
            stats.failures += not is_ok
        if self._balancing.policy is Policy.LEAST_REQUEST and not is_ok:
            backend.penalty = backend.penalty or Penalty()
            backend.penalty.failed(self._clock())
        if self._is_reported:
            metadata = outcome(call.trailing_metadata())
            report = metadata.get(TRAILER) if metadata is not None else None
            if isinstance(report, bytes):
                self._weights.report(backend.identity, report, self._clock())

    def _report_ejections(self, before: dict[Identity, Stats]) -> None:
        for backend in self._pool:
            was, stats = before[backend.identity], self._stats[backend.identity]
            if stats.ejected and not was.ejected:
                backend.ejections += 1
                self._log.warning(
                    "Ejected a backend",
                    extra={"backend": backend.endpoint.target, "calls": was.volume, "failed_calls": was.failures},
                )
            elif was.ejected and not stats.ejected:
                self._log.info("Ejection of a backend ended", extra={"backend": backend.endpoint.target})


def _eligible(backends: Collection[Subchannel]) -> tuple[Subchannel, ...]:
    """Return connected Ready subchannels; Draining ones only if no Ready one is connected or connecting."""
    # Looking up an enum member takes as long as the rest of the work for a backend.
    up, takes_calls = Connection.CONNECTED, EndpointState.READY
    connected = [backend for backend in backends if backend.connection is up]
    ready = tuple([backend for backend in connected if backend.endpoint.state is takes_calls])
    if ready or any(b.connection is Connection.CONNECTING and b.endpoint.state is takes_calls for b in backends):
        return ready
    return tuple(connected)

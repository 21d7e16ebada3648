"""Leader election with a Lease (coordination.k8s.io/v1), and a fence that keeps a former leader from writing.

The rules are those of client-go's leader election: a candidate takes the Lease if the holder released it, or has not
renewed it for the Lease's duration since the candidate *observed* the last renewal. Clocks of machines are never
compared. Each side measures the duration on its own boot-time clock, which nobody sets and which runs on in a suspended
machine: the holder from before it sent the renewal, a candidate from after it observed it. So the holder always stops
first.

Unlike kopf's peering and client-go, the election has a fence: :meth:`LeaderElection.writing` encloses each write, and
lets none be sent that might arrive after the Lease has expired. A process that was paused past its Lease therefore
never writes again; it exits. The Lease is not released while a write that got no response may still be in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from backendpool.errors import ClusterError, Conflict, LeadershipLost, NotFound, NotLeading
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector, ReflectorTiming
from backendpool.k8s.resources import LEASES
from backendpool.runtime.clock import since_boot
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ElectionTiming:
    """All in seconds.

    ``lease_duration`` is how long a Lease lasts after a renewal, which is due each ``renew_interval`` and retried each
    ``retry_interval``. A write is sent only if the Lease lasts for another ``request_timeout``: the longest that a
    request may be in flight. A watch on the Lease that is silent for ``watch_timeout``, in which three renewals are
    due, is restarted: its connection may be dead.
    """

    lease_duration: int = 15
    renew_interval: float = 2.0
    retry_interval: float = 1.0
    request_timeout: float = 10.0
    watch_timeout: float = 6.0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The content of a Lease, and when it was first ``observed_at`` on the candidate's own clock."""

    holder: str
    duration: int
    transitions: int
    version: str
    observed_at: float

    def free_at(self, candidate: str) -> float:
        """Return when ``candidate`` may take it: at once if it has no holder, or is its own by an unanswered write."""
        return self.observed_at if self.holder in ("", candidate) else self.observed_at + self.duration


class LeaderElection:
    """One candidate; no other process, nor this one after a restart, may have its ``identity``.

    ``api`` is for the election alone, with a timeout of at most ``timing.request_timeout`` and without a fence.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        timing: ElectionTiming = ElectionTiming(),
        clock: Callable[[], float] = since_boot,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.identity = identity
        self._lease = _LeaseLock(api, namespace, name, timing.lease_duration)
        self._log = FieldLogger(log, lease=f"{namespace}/{name}", identity=identity)
        self._timing = timing
        self._clock = clock
        self._sleep = sleep
        self._changed = asyncio.Event()
        self._record: LeaseRecord | None = None
        self._expires_at = self._in_flight_until = float("-inf")
        self._reflector: Reflector[LeaseRecord] = Reflector(
            api,
            LEASES,
            self._parse,
            self._on_change,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            timing=ReflectorTiming(idle_timeout=timing.watch_timeout),
        )

    @property
    def leading(self) -> bool:
        """Whether the Lease is held and has not expired, by this process's clock."""
        return self._clock() < self._expires_at

    def assert_leader(self) -> None:
        """Raise :class:`NotLeading` unless a write that is sent now arrives before the Lease expires."""
        if self._clock() + self._timing.request_timeout >= self._expires_at:
            raise NotLeading(f"{self.identity} does not hold the Lease {self._lease.name} long enough for a write")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Fence a write: :meth:`assert_leader`, and remember a write that got no response."""
        self.assert_leader()
        arrived_at = self._clock() + self._timing.request_timeout
        try:
            yield
        except BaseException:
            self._in_flight_until = max(self._in_flight_until, arrived_at)
            raise

    async def watch(self) -> NoReturn:
        """Watch the Lease; run this beside :meth:`acquire` and :meth:`renew_until_lost`."""
        await self._reflector.run()

    async def acquire(self) -> None:
        """Wait until this candidate holds the Lease."""
        await self._reflector.wait_synced()
        self._log.info("Waiting for the Lease")
        while not self.leading:
            self._changed.clear()
            wait = self._record.free_at(self.identity) - self._clock() if self._record else 0.0
            if wait > 0:
                await self._wait_for_change(wait)
            elif not await self._try_acquire(self._record):
                await self._wait_for_change(self._timing.retry_interval)
        self._log.info("Became leader")

    async def renew_until_lost(self) -> NoReturn:
        """Renew the Lease until that fails for too long; raises :class:`LeadershipLost` then."""
        while True:
            await self._sleep(self._timing.renew_interval)
            while not await self._renew():
                if not self.leading:
                    raise LeadershipLost(f"{self.identity} could not renew the Lease {self._lease.name} in time")
                await self._sleep(self._timing.retry_interval)

    async def release(self) -> None:
        """Release the Lease, so that another candidate can take it at once. Nothing may be written afterwards.

        If a write that got no response may still arrive, the Lease is left to expire instead.
        """
        if not self.leading:
            return
        self._expires_at = float("-inf")
        if self._clock() < self._in_flight_until:
            self._log.warning("A write may still be in flight, letting the Lease expire")
            return
        try:
            await self._write(holder="")
            self._log.info("Released the Lease")
        except (ClusterError, LeadershipLost) as error:
            self._log.warning("Releasing the Lease failed, letting it expire", extra={"error": error})

    async def _try_acquire(self, record: LeaseRecord | None) -> bool:
        """Acquire the Lease; the write is bound to the observed version, so the first writer wins."""
        begun = self._clock()
        try:
            await self._lease.acquire(self.identity, record)
        except ClusterError as error:
            self._log.debug("Acquiring the Lease failed, retrying", extra={"error": error})
            if isinstance(error, Conflict):
                await self._refresh()
            return False
        self._held_since(begun)
        return True

    async def _refresh(self) -> None:
        """Read the Lease: it differs from what the watch has reported, and the watch may never report the change."""
        try:
            self._record = self._parse(await self._lease.read())
        except NotFound:
            self._record = None
        except ClusterError as error:
            self._log.debug("Reading the Lease failed", extra={"error": error})

    async def _renew(self) -> bool:
        """Return whether the Lease was renewed; raises :class:`LeadershipLost` if another process may hold it."""
        begun = self._clock()
        if not self.leading:
            # The process was paused, and another process may be the leader.
            raise LeadershipLost(f"{self.identity} let the Lease {self._lease.name} expire")
        try:
            await self._write(self.identity)
        except ClusterError as error:
            self._log.warning("Renewing the Lease failed, retrying", extra={"error": error})
            return False
        self._held_since(begun)
        return True

    async def _write(self, holder: str) -> None:
        try:
            await self._lease.write(holder)
        except (Conflict, NotFound):
            # Somebody changed it, or an earlier renewal whose response was lost has arrived.
            await self._rebase()
            await self._lease.write(holder)

    async def _rebase(self) -> None:
        """Bind the next write to the current version; raises :class:`LeadershipLost` if it has another holder."""
        try:
            lease = await self._lease.read()
        except NotFound:
            raise LeadershipLost(f"the Lease {self._lease.name} was deleted") from None
        if (holder := self._parse(lease).holder) != self.identity:
            raise LeadershipLost(f"the Lease {self._lease.name} was acquired by {holder}")
        self._lease.version = lease["metadata"]["resourceVersion"]

    def _held_since(self, begun: float) -> None:
        """Count from before the request was sent, since no candidate can have observed it earlier."""
        self._expires_at = begun + self._timing.lease_duration

    async def _wait_for_change(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _on_change(self, old: LeaseRecord | None, new: LeaseRecord | None) -> None:
        self._record = new
        self._changed.set()

    def _parse(self, lease: dict[str, Any]) -> LeaseRecord:
        known = self._record
        if known and known.version == lease["metadata"]["resourceVersion"]:
            return known  # read again, not renewed again
        return self._lease.parse(lease, self._clock())


class _LeaseLock:
    """Reads and writes the Lease ``namespace``/``name``.

    Each write is bound to ``version``: it raises ``Conflict`` if there is a later one, ``NotFound`` if the Lease was
    deleted, and any other ``ClusterError``.
    """

    def __init__(self, api: Api, namespace: str, name: str, duration: int) -> None:
        self.name = name
        self.key = (namespace, name)
        self.version = ""
        self._api = api
        self._duration = duration
        self._transitions = 0
        self._acquired_at = ""

    def parse(self, lease: dict[str, Any], observed_at: float) -> LeaseRecord:
        spec = lease.get("spec") or {}
        return LeaseRecord(
            holder=spec.get("holderIdentity") or "",
            duration=spec.get("leaseDurationSeconds") or self._duration,
            transitions=spec.get("leaseTransitions") or 0,
            version=lease["metadata"]["resourceVersion"],
            observed_at=observed_at,
        )

    async def read(self) -> dict[str, Any]:
        return await self._api.get(LEASES, *self.key)

    async def acquire(self, holder: str, record: LeaseRecord | None) -> None:
        """Write a new holder over ``record``; None if there is no Lease."""
        self.version = record.version if record else ""
        self._transitions = record.transitions + 1 if record else 0
        self._acquired_at = _now()
        await self.write(holder)

    async def write(self, holder: str) -> None:
        """Renew the Lease for ``holder``; the empty string releases it."""
        document = self._document(holder)
        answer = await (self._api.replace if self.version else self._api.create)(LEASES, document)
        self.version = answer["metadata"]["resourceVersion"]

    def _document(self, holder: str) -> dict[str, Any]:
        namespace, name = self.key
        version = {"resourceVersion": self.version} if self.version else {}
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": namespace, "name": name, **version},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": self._duration,
                "leaseTransitions": self._transitions,
                "acquireTime": self._acquired_at,
                "renewTime": _now(),
            },
        }


def _now() -> str:
    """Return the time for people to read; no decision depends on it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

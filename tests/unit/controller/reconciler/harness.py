"""A reconciler with a fake API server."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from prometheus_client import CollectorRegistry

from backendpool.api.constants import KIND, POOL_LABEL
from backendpool.api.pool import PoolKey, parse_pool
from backendpool.controller.cache import Cache
from backendpool.controller.child_applier import ChildApplier
from backendpool.controller.event_recorder import EventRecorder
from backendpool.controller.lookaside_diagnosis import LookasideDiagnosis
from backendpool.controller.metrics import OperatorMetrics
from backendpool.controller.reconciler import Reconciler
from backendpool.controller.rollouts import RolloutLimiter
from backendpool.k8s.client import Api
from tests.fakes.clock import FakeClock
from tests.fakes.fake_api import FakeApi
from tests.fakes.objects import parsed_slice, pool

KEY = ("shop", "greetserver")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STARTING = 10.0
"""Seconds after which a lookaside that has no server yet is looked at."""


@dataclass
class ReconcilerHarness:
    """A reconciler, the API server that it writes to, and watches that deliver on request."""

    api: FakeApi = field(default_factory=FakeApi)
    enqueued: list[PoolKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        api = cast("Api", self.api)
        metrics = OperatorMetrics(CollectorRegistry())
        self.clock = FakeClock()
        self.cache = Cache(self.enqueued.append, self.clock.call_later)
        recorder = EventRecorder(api, "operator-0")
        self.rollouts = RolloutLimiter(1, self.enqueued.append, self.clock.call_later)
        applier = ChildApplier(api, self.cache, recorder, metrics, "backendpool/operator:test", self.rollouts)
        self.refused: dict[str, str] = {}
        self.seconds = 0.0
        self.reconciler = Reconciler(
            api,
            self.cache,
            applier,
            LookasideDiagnosis(api, clock=lambda: self.seconds),
            recorder,
            metrics,
            unwatchable=lambda _: self.refused,
            clock=lambda: NOW,
        )
        self.seen: dict[Any, Any] = {}
        self.pool = self.api.put(pool(KEY[1], namespace=KEY[0], generation=1))
        self.deliver()

    def deliver(self) -> None:
        """Deliver the watch events: the pool and every child with our label."""
        for obj in [o for (kind, _, _), o in self.api.objects.items() if kind == KIND]:
            self.cache.put_pool(parse_pool(obj))
        now = {r: o for r, o in self.api.children().items() if POOL_LABEL in o["metadata"].get("labels", {})}
        for ref in self.seen | now:
            if self.seen.get(ref) != now.get(ref):
                self.cache.put_child(self.seen.get(ref), now.get(ref))
        self.seen = now

    async def reconcile(self) -> float | None:
        self.api.writes.clear()
        again = await self.reconciler.reconcile(KEY)
        self.deliver()
        return again

    def put_slice(self, *addresses: str, name: str = "s1") -> None:
        """Put a slice with ready pods at these addresses into the cache."""
        uid = self.api.objects["Service", *KEY]["metadata"]["uid"]
        held = {one.name: one for one in self.cache.slices(KEY)}
        new = parsed_slice(*addresses, name=name, namespace=KEY[0], service=KEY[1], service_uid=uid)
        self.cache.put_slice(held.get(name), new)

    @property
    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.api.objects[KIND, *KEY]["status"])

    @property
    def addresses(self) -> list[str]:
        """Return the addresses of the endpoints in the status."""
        return [endpoint["address"] for endpoint in self.status["endpoints"]]

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == kind)

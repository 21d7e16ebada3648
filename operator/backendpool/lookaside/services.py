"""The lookaside of one pool: informers feed a publisher, whose snapshots three gRPC services serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sized
from functools import partial
from typing import Final, NoReturn

from prometheus_client import CollectorRegistry

from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing
from backendpool.api.pool import PoolView
from backendpool.k8s.client import Api
from backendpool.k8s.metrics import WatchMetrics
from backendpool.lookaside import watch_service
from backendpool.lookaside.informers import EndpointInformer, SpecInformer
from backendpool.lookaside.metrics import LookasideMetrics
from backendpool.lookaside.resolver import LookasideServicer, Resolver
from backendpool.lookaside.topic import Topic
from backendpool.lookaside.watch_service import EncodedSnapshot, WatchServicer
from backendpool.lookaside.xds import servicer as ads_service
from backendpool.lookaside.xds.names import PoolName
from backendpool.lookaside.xds.servicer import AdsServicer
from backendpool.lookaside.xds.snapshot import SnapshotCache
from backendpool.proto.lookaside import lookaside_pb2, lookaside_pb2_grpc
from backendpool.runtime.grpc_server import Register

_LOOKASIDE: Final = lookaside_pb2.DESCRIPTOR.services_by_name["Lookaside"].full_name


class SnapshotPublisher:
    """Publishes each change of the pool: unchanged to Watch, and after ``emptyPolicy`` to xDS and Resolve.

    Clients of Watch apply ``emptyPolicy`` themselves. For xDS and Resolve it is applied here: with ``KeepLast`` they
    get the last endpoints while the pool has none.
    """

    def __init__(self, pool: PoolName) -> None:
        self.watch: Topic[EncodedSnapshot] = Topic()
        self.ads: Topic[SnapshotCache] = Topic()
        self._pool = pool

    def endpoints(self) -> EndpointSet | None:
        """Return the endpoints for Resolve; None before the first publication."""
        return self.ads.latest.view.endpoints if self.ads.latest else None

    def publish(self, endpoints: EndpointSet | None, balancing: LoadBalancing | None) -> None:
        """Publish if something changed; does nothing until both endpoints and load balancing are known."""
        if endpoints is None or balancing is None:
            return
        view = PoolView(endpoints, balancing)
        if self.watch.latest is None or not _is_same(view, self.watch.latest.view):
            self.watch.publish(EncodedSnapshot(view))
        last = self.ads.latest.view if self.ads.latest else None
        if last and not endpoints.endpoints and balancing.empty_policy is EmptyPolicy.KEEP_LAST:
            view = PoolView(last.endpoints, balancing)
        if last is None or not _is_same(view, last):
            self.ads.publish(SnapshotCache(self._pool, view))

    def close_all(self, seconds: float) -> None:
        """Close all streams within ``seconds``; their clients reconnect to another replica."""
        self.watch.close_all(seconds)
        self.ads.close_all(seconds)


def _is_same(one: PoolView, other: PoolView) -> bool:
    """Compare revisions, which are hashes of the endpoints."""
    return (one.endpoints.revision, one.balancing) == (other.endpoints.revision, other.balancing)


class Lookaside:
    """The informers and services of one pool. ``services`` maps full service names to registration functions."""

    def __init__(self, api: Api, namespace: str, pool: str, registry: CollectorRegistry) -> None:
        watches = WatchMetrics(registry)
        self._endpoints = EndpointInformer(api, namespace, pool, self._publish, watches)
        self._spec = SpecInformer(api, namespace, pool, self._publish, watches)
        self.publisher = publisher = SnapshotPublisher(PoolName(namespace, pool))
        streams: dict[str, Sized] = {"ads": publisher.ads, "watch": publisher.watch}
        self.metrics = metrics = LookasideMetrics(registry, self._endpoints, streams)
        resolve = LookasideServicer(Resolver(namespace, pool, publisher.endpoints), metrics.count_resolve)
        self.services: Mapping[str, Register] = {
            _LOOKASIDE: partial(lookaside_pb2_grpc.add_LookasideServicer_to_server, resolve),
            watch_service.SERVICE: WatchServicer(namespace, pool, publisher.watch, self._endpoints.age).register,
            ads_service.SERVICE: AdsServicer(publisher.ads, metrics.count_ack).register,
        }

    def readiness_error(self) -> str | None:
        """Return why there is nothing to serve yet; None once there is."""
        return self._endpoints.readiness_error() or self._spec.readiness_error()

    async def wait_synced(self) -> None:
        """Return once endpoints and spec are known and published."""
        await asyncio.gather(self._endpoints.wait_synced(), self._spec.wait_synced())
        self._publish()

    async def run(self) -> NoReturn:
        """Run the informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._endpoints.run())
            group.create_task(self._spec.run())
        raise AssertionError("informers never return")

    def _publish(self) -> None:
        self.publisher.publish(self._endpoints.endpoints(), self._spec.balancing())

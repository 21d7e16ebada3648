"""The lookaside put together: what it knows of its pool, and the services that tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sized
from functools import partial
from typing import Final, NoReturn

from prometheus_client import CollectorRegistry

from backendpool.api.pool import PoolView
from backendpool.k8s.client import Api
from backendpool.k8s.metrics import WatchMetrics
from backendpool.lookaside import watch_service
from backendpool.lookaside.informers import EndpointView
from backendpool.lookaside.metrics import LookasideMetrics
from backendpool.lookaside.publisher import Publisher
from backendpool.lookaside.resolver import Resolver
from backendpool.lookaside.service import LookasideServicer
from backendpool.lookaside.spec_view import SpecView
from backendpool.lookaside.topic import Broadcast
from backendpool.lookaside.watch_service import Telling, WatchServicer
from backendpool.lookaside.xds import servicer as ads
from backendpool.lookaside.xds.names import PoolName
from backendpool.lookaside.xds.servicer import AdsServicer
from backendpool.lookaside.xds.snapshot import Publication
from backendpool.proto.lookaside import lookaside_pb2, lookaside_pb2_grpc
from backendpool.runtime.grpc_server import Register

_LOOKASIDE: Final = lookaside_pb2.DESCRIPTOR.services_by_name["Lookaside"].full_name


class Lookaside:
    """One pool, followed and told: endpoints and spec come in by watches, and go out by three services."""

    def __init__(self, api: Api, namespace: str, pool: str, registry: CollectorRegistry) -> None:
        watches = WatchMetrics(registry)
        self._endpoints = EndpointView(api, namespace, pool, self._refresh, watches)
        self._spec = SpecView(api, namespace, pool, self._refresh, watches)
        self._name = PoolName(namespace, pool)
        self._tellings: Broadcast[Telling] = Broadcast()
        self._publications: Broadcast[Publication] = Broadcast()
        self._publisher = Publisher(self._endpoints.endpoints, self._spec.balancing, self._tell, self._publish)
        streams: dict[str, Sized] = {"ads": self._publications, "watch": self._tellings}
        self._metrics = metrics = LookasideMetrics(registry, self._endpoints, streams)
        resolver = Resolver(namespace, pool, self._publisher.kept_endpoints)
        resolving = LookasideServicer(resolver, metrics.resolved)
        watching = WatchServicer(namespace, pool, self._tellings, self._endpoints.age)
        self.services: Mapping[str, Register] = {
            _LOOKASIDE: partial(lookaside_pb2_grpc.add_LookasideServicer_to_server, resolving),
            watch_service.SERVICE: watching.register,
            ads.SERVICE: AdsServicer(self._publications, metrics).register,
        }

    def unready(self) -> str | None:
        """Why there is nothing to tell yet; None once there is."""
        return self._endpoints.unready() or self._spec.unready()

    async def wait_known(self) -> None:
        """Return once there is something to tell."""
        await asyncio.gather(self._endpoints.wait_synced(), self._spec.wait_synced())
        self._refresh()

    async def run(self) -> NoReturn:
        """Follow the API server, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._endpoints.run())
            group.create_task(self._spec.run())
        raise AssertionError("views never return")

    def renewed(self, used: bool) -> None:
        """Another certificate was found, and is used from now on or is not."""
        self._metrics.renewed(used)

    def disband(self, seconds: float) -> None:
        """End all streams within that time, spread out; their clients come again, to another server."""
        self._tellings.disband(seconds)
        self._publications.disband(seconds)

    def _refresh(self) -> None:
        self._publisher.refresh()

    def _tell(self, view: PoolView) -> None:
        self._tellings.publish(Telling(view))

    def _publish(self, view: PoolView) -> None:
        self._publications.publish(Publication(self._name, view))

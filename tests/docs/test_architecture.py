"""The three code paths in docs/architecture.md, compared with the functions that actually run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import grpc.aio
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from kubernetes.aio.config import kube_config

from backendpool.client import connect
from tests.docs.markdown import ARCHITECTURE, section
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint, pool, reconciled_pool
from tests.fakes.until import until
from tests.unit.controller.operators import NAME, applied, listed, operated, put_slice
from tests.unit.lookaside.snapshots import NAME as XDS_NAME
from tests.unit.lookaside.snapshots import snapshot_cache
from tests.unit.lookaside.xds.ads_clients import ENDPOINTS
from tests.unit.lookaside.xds.ads_server import AdsServer

_STEP = re.compile(r"^\d+\. `([\w.]+)`", re.MULTILINE)


@pytest.fixture(autouse=True)
def no_system_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture
def server() -> ApiServer:
    server = ApiServer()
    server.put(pool())
    return server


async def test_path_of_an_endpoint_slice_event(server: ApiServer, tmp_path: Path) -> None:
    """The listed functions run in this order between an EndpointSlice event and the status write."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        with traced() as calls:
            put_slice(server, "10.0.0.1")
            await until(lambda: listed(server) == ["10.0.0.1"])
    assert next_missing(steps("From an EndpointSlice event to the status write"), calls) is None


async def test_path_of_a_status_event(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listed functions run in this order between a status event and a call on grpc.aio."""
    async with server.serving(tmp_path) as kubeconfig, backend() as port:
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        server.put(reconciled_pool())
        async with connect(f"pool:///default/{NAME}") as channel:
            await until(lambda: channel.status().view is not None)
            with traced() as calls:
                server.put(reconciled_pool(endpoint("127.0.0.1", port=port)))
                await until(lambda: channel.get_state() is grpc.ChannelConnectivity.READY)
                with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                    await HealthStub(channel).Check(HealthCheckRequest(), timeout=30)
    assert next_missing(steps("From a status event to a pick"), calls) is None


async def test_path_of_an_ads_request() -> None:
    """The listed functions run in this order between an ADS request and its response."""
    ads = AdsServer()
    ads.topic.publish(snapshot_cache("10.0.0.1"))
    async with ads.channel() as channel:
        with traced() as calls:
            stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
            await stream.write(DiscoveryRequest(type_url=ENDPOINTS, resource_names=[XDS_NAME]))
            assert b"10.0.0.1" in (await stream.read()).resources[0].value
        stream.cancel()
    assert next_missing(steps("From an ADS request to its response"), calls) is None


def test_wrong_order_is_found() -> None:
    """next_missing returns the first listed function that does not run after its predecessor."""
    assert next_missing(["a", "b"], ["a", "x", "b"]) is None
    assert next_missing(["b", "a"], ["a", "x", "b"]) == "a"
    assert next_missing(["a", "c"], ["a", "x", "b"]) == "c"


def steps(heading: str) -> list[str]:
    """Return the functions in a numbered list of docs/architecture.md, as ``module.function``."""
    found = _STEP.findall(section(ARCHITECTURE, heading))
    assert len(found) > 5
    return found


@contextmanager
def traced() -> Iterator[list[str]]:
    """Record the functions of backendpool that this thread calls."""
    calls: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("backendpool."):
            calls.append(f"{module.removeprefix('backendpool.')}.{frame.f_code.co_qualname}")

    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def next_missing(path: list[str], calls: list[str]) -> str | None:
    """Return the first step of ``path`` that ``calls`` lacks after the previous step, or None."""
    rest = iter(calls)
    return next((step for step in path if step not in rest), None)


@asynccontextmanager
async def backend() -> AsyncIterator[int]:
    """Run a gRPC server without methods, and yield its port."""
    running = grpc.aio.server()
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield port
    finally:
        await running.stop(None)

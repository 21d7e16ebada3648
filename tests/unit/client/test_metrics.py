"""Prometheus metrics of channels."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from grpc.aio import AioRpcError
from prometheus_client import CollectorRegistry

from backendpool.api.endpoints import Endpoint
from backendpool.client import connect
from backendpool.client.metrics import ChannelCollector
from backendpool.testing import FakePool
from tests.docs.markdown import OPERATIONS, section, table
from tests.unit.client.pods import METHOD, dead_endpoint, pods

POOL = {"pool": "FakePool"}


def of(endpoint: Endpoint) -> dict[str, str]:
    return {**POOL, "backend": endpoint.target, "pod": endpoint.pod_name}


async def test_series_are_those_that_are_documented() -> None:
    """The series and labels are exactly the documented ones."""
    rows = table(section(OPERATIONS, "Gateway"), "metric", "type", "labels", "meaning")
    documented = {row["metric"]: row["labels"].replace("`", "") for row in rows if "gateway" not in row["metric"]}
    registry, pool = CollectorRegistry(), FakePool()
    pool.set([Endpoint("127.0.0.1", 1)])
    async with connect(pool) as channel:
        await pool.wait_until_connected(channel)
        registry.register(ChannelCollector(channel))
        samples = [sample for metric in registry.collect() for sample in metric.samples]
    assert {sample.name: ", ".join(sample.labels) for sample in samples} == documented


async def test_calls_are_counted_where_they_went() -> None:
    """Attempts and failures are counted per backend and in total, and connections by state."""
    registry = CollectorRegistry()
    async with pods("a", "b") as (a, b), dead_endpoint() as dead:
        pool = FakePool()
        pool.set([a.endpoint, b.endpoint, dead])
        async with connect(pool) as channel:
            await pool.wait_until_connected(channel)
            registry.register(ChannelCollector(channel))
            who: Any = channel.unary_unary(METHOD)
            for _ in range(6):
                await who(b"", timeout=5)
            a.held = b.held = asyncio.Event()
            with pytest.raises(AioRpcError):
                await who(b"", timeout=0.05)
            value = registry.get_sample_value
            assert value("backendpool_client_picks_total", POOL) == 7
            assert value("backendpool_client_failures_total", POOL) == 1
            picks = [value("backendpool_client_backend_picks_total", of(one)) for one in (a.endpoint, b.endpoint, dead)]
            assert sorted(found for found in picks if found is not None) == [0, 3, 4]
            counts = {"connecting": 0, "connected": 2, "failed": 1}
            for connection, count in counts.items():
                assert value("backendpool_client_backends", {**POOL, "connection": connection}) == count
            assert value("backendpool_client_backend_connected", of(dead)) == 0
            assert value("backendpool_client_backend_connected", of(a.endpoint)) == 1
            assert value("backendpool_client_backend_connections_total", of(a.endpoint)) == 1
            assert value("backendpool_client_backend_ejected", of(a.endpoint)) == 0


async def test_series_of_a_backend_end_with_it() -> None:
    """The series of a removed backend end, and the totals keep its counts."""
    registry = CollectorRegistry()
    async with pods("a", "b") as (a, b):
        pool = FakePool()
        pool.set([a.endpoint])
        async with connect(pool) as channel:
            registry.register(ChannelCollector(channel))
            who: Any = channel.unary_unary(METHOD)
            await who(b"", timeout=5)
            pool.set([b.endpoint])
            await pool.wait_until_connected(channel)
            assert registry.get_sample_value("backendpool_client_backend_picks_total", of(a.endpoint)) is None
            assert registry.get_sample_value("backendpool_client_backend_picks_total", of(b.endpoint)) == 0
            assert registry.get_sample_value("backendpool_client_picks_total", POOL) == 1


async def test_age_is_infinite_before_anything_is_known() -> None:
    """The age is infinite before the first list, so that alerts on stale lists fire."""
    registry = CollectorRegistry()

    async def nothing() -> Any:
        await asyncio.Event().wait()
        yield

    async with connect(nothing()) as channel:
        registry.register(ChannelCollector(channel))
        assert registry.get_sample_value("backendpool_view_age_seconds", {"pool": "async_generator"}) == float("inf")


async def test_channels_of_one_process_are_told_apart_by_their_pools() -> None:
    """One collector exports all channels, labelled by pool; a second collector is rejected."""
    registry = CollectorRegistry(auto_describe=True)
    async with connect("file:///one.json") as one, connect("file:///two.json") as other:
        registry.register(ChannelCollector(one, other))
        families = list(registry.collect())
        assert {sample.labels["pool"] for family in families for sample in family.samples} == {"/one.json", "/two.json"}
        assert len({family.name for family in families}) == len(families)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(ChannelCollector(other))


def test_base_install_says_what_is_missing() -> None:
    """Without prometheus-client, the error says what to install."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import backendpool.client\n"
        "try: import backendpool.client.metrics\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" is not installed: pip install 'backendpool[metrics]'\n")

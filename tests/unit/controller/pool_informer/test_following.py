"""The pool informer: the cache follows the API server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import kopf
import pytest

from backendpool.api.constants import KIND
from backendpool.controller import pool_informer
from backendpool.controller.cache import Cache
from backendpool.controller.pool_informer import PoolInformer
from backendpool.k8s.resources import POOLS
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock
from tests.fakes.objects import pool
from tests.fakes.until import until
from tests.unit.controller.pool_informer.harness import OFTEN, ONCE, ONLY_POOLS, InformerHarness
from tools.fault_proxy.rules import Action, Rule


async def test_pools_are_listed_and_followed(harness: InformerHarness) -> None:
    """Existing, new and deleted pools are in the cache."""
    await harness.knows("one")
    harness.put("two")
    await harness.knows("one", "two")
    harness.server.remove(KIND, "default", "one")
    await harness.knows("two")
    assert not harness.failures
    assert harness.requests["watch"] == 1, "kopf's requests count as well"


async def test_pools_are_listed_in_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pools are listed in pages, so that a response never holds all of them."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setattr(pool_informer, "PAGE", 2)
    server, cache = ApiServer(), Cache(lambda _: None, FakeClock().call_later)
    for name in ("one", "two", "three"):
        server.put(pool(name))
    async with server.connected(tmp_path) as api:
        watch = asyncio.create_task(PoolInformer(cache, (), "test", api, lambda _: None, ONCE).run())
        await until(lambda: len(cache.pools()) == 3)
        watch.cancel()
        await asyncio.wait([watch])
    assert server.pages == [(POOLS, 2), (POOLS, 1)]


async def test_pool_that_is_none_is_passed_over(harness: InformerHarness) -> None:
    """A malformed pool is skipped, and the next pool is cached."""
    odd = pool("odd")
    harness.server.put({**odd, "metadata": {**odd["metadata"], "labels": ["odd"]}})
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {"Malformed": 1}


@pytest.mark.parametrize("timing", [OFTEN])
async def test_deletion_that_kopf_loses_is_found(harness: InformerHarness) -> None:
    """A deletion during a gap in kopf's watch is found by the resync."""
    await harness.script(Rule(Action.REFUSE, path=ONLY_POOLS, watch=True, status=410, count=1))
    await harness.cut()
    harness.server.remove(KIND, "default", "one")
    harness.put("two")
    await harness.knows("two")
    assert (await harness.used()) == [1]


async def test_our_own_tasks_outlive_kopf(harness: InformerHarness) -> None:
    """When kopf exits it cancels all tasks of its loop, but not ours, which run in another loop."""
    ours = asyncio.create_task(asyncio.sleep(60))
    await harness.script(Rule(Action.REFUSE, path=ONLY_POOLS, status=401, count=1))
    await harness.cut()
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {"Unauthorized": 1}
    assert not ours.done()
    ours.cancel()


async def test_kopf_that_cancels_itself_is_started_again(
    harness: InformerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation inside kopf is not mistaken for ours, so kopf is restarted."""
    operator, cancelled = kopf.operator, asyncio.Event()

    async def broken(**kwargs: Any) -> None:
        if cancelled.is_set():
            return await operator(**kwargs)
        cancelled.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(kopf, "operator", broken)
    await harness.script(Rule(Action.REFUSE, path=ONLY_POOLS, status=401, count=1))
    await harness.cut()
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {"Unauthorized": 1, "RuntimeError": 1}


async def test_crd_that_comes_later_is_found(harness: InformerHarness, caplog: pytest.LogCaptureFixture) -> None:
    """After the CRD is deleted and applied again with its pools, the informer follows them again."""
    harness.server.unserved = {POOLS}
    await harness.cut()
    await until(lambda: any("is not installed" in str(getattr(record, "error", "")) for record in caplog.records))
    harness.server.unserved = set()
    harness.put("two")
    await harness.knows("one", "two")


async def test_token_that_rotates_is_followed(harness: InformerHarness) -> None:
    """kopf sends the token that the file contains now, not the one that it contained when kopf started."""
    harness.token_file.write_text("second")
    harness.server.token = "second"
    await harness.cut()
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {"Unauthorized": 1}

"""The watch on pools: what kopf brings is in the cache, and what it loses is found."""

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
from tests.fakes.until import until
from tests.unit.controller.pool_informer.harness import OFTEN, ONCE, ONLY_POOLS, InformerHarness, pool
from tools.fault_proxy.rules import Action, Rule


async def test_pools_are_listed_and_followed(harness: InformerHarness) -> None:
    """What is there, what comes, and what goes."""
    await harness.knows("one")
    harness.put("two")
    await harness.knows("one", "two")
    harness.server.remove(KIND, "default", "one")
    await harness.knows("two")
    assert not harness.failures
    assert harness.requests["watch"] == 1, "kopf's requests count as well"


async def test_pools_are_listed_in_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However many there are, no more of them than a page has come at once."""
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
    """Something that the API server cannot have meant ends nothing, and the pool after it is known."""
    odd = pool("odd")
    harness.server.put({**odd, "metadata": {**odd["metadata"], "labels": ["odd"]}})
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {"Malformed": 1}


@pytest.mark.parametrize("timing", [OFTEN])
async def test_deletion_that_kopf_loses_is_found(harness: InformerHarness) -> None:
    """kopf lists anew after a gap, and does not tell what is no longer there."""
    await harness.script(Rule(Action.REFUSE, path=ONLY_POOLS, watch=True, status=410, count=1))
    await harness.cut()
    harness.server.remove(KIND, "default", "one")
    harness.put("two")
    await harness.knows("two")
    assert (await harness.used()) == [1]


async def test_our_own_tasks_outlive_kopf(harness: InformerHarness) -> None:
    """kopf cancels all tasks of its event loop when it ends; ours are in another one."""
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
    """Its cancellation is not taken for one of ours, which would leave the pools unwatched without a word."""
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
    """A CRD that is deleted and applied again, as its pools are, is followed again."""
    harness.server.unserved = {POOLS}
    await harness.cut()
    await until(lambda: any("is not installed" in str(getattr(record, "error", "")) for record in caplog.records))
    harness.server.unserved = set()
    harness.put("two")
    await harness.knows("one", "two")


async def test_token_that_rotates_is_followed(harness: InformerHarness) -> None:
    """kopf asks with the token that is in the file now, as our own requests do, and not with the one it began with."""
    harness.token_file.write_text("second")
    harness.server.token = "second"
    await harness.cut()
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {"Unauthorized": 1}

"""Fixtures of the pool informer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backendpool.controller.resync import ResyncTiming
from backendpool.k8s.client import Api
from tests.fakes.api_server import KUBECONFIG, ApiServer
from tests.fakes.objects import pool
from tests.fakes.until import until
from tests.unit.controller.pool_informer.harness import ONCE, InformerHarness
from tools.fault_proxy import proxy


@pytest.fixture
def timing() -> ResyncTiming:
    """Resync only once, so that everything else must come from the watch."""
    return ONCE


@pytest_asyncio.fixture
async def harness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, timing: ResyncTiming
) -> AsyncIterator[InformerHarness]:
    """An informer that has synced and knows the pool "one"."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    server, kubeconfig, token_file = ApiServer(), tmp_path / "by-proxy", tmp_path / "token"
    server.token = "first"
    token_file.write_text(server.token)
    server.put(pool("one"))
    async with server.serving(tmp_path), proxy.serving(server.url, host="127.0.0.1") as (port, control):
        config = KUBECONFIG.format(url=f"http://127.0.0.1:{port}")
        kubeconfig.write_text(config.replace("token: none", f'tokenFile: "{token_file}"'))
        async with await Api.connect(str(kubeconfig)) as api:
            harness = InformerHarness(server, api, f"http://127.0.0.1:{control}", timing, token_file)
            watch = asyncio.create_task(harness.watch.run())
            await until(lambda: harness.watch.resyncs[None].synced)
            await until(lambda: harness.accepted)
            harness.now += 10 * timing.retry.healthy_after
            harness.pauses.clear()
            harness.backoffs.clear()
            yield harness
            watch.cancel()
            await asyncio.wait([watch])
            assert watch.cancelled(), watch.exception()

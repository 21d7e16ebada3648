"""The least of an API server that a lookaside and a client start from: one pool, its endpoints, and watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from backendpool.api.constants import API_VERSION, KIND
from backendpool.k8s.resources import ENDPOINT_SLICES, POOLS
from bench.fleet import Document, Fleet

FLEET: Final = Fleet("bench", pools=1, endpoints=3)
(POOL,) = FLEET.names()
_META: Final = {"uid": "u-1", "resourceVersion": "1"}

_POOL: Final[Document] = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"namespace": FLEET.namespace, "name": POOL},
    "spec": {"selector": {"bench": POOL}, "port": 50051},
    "status": {"revision": "1"},
}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Path]:
    """Serve on the loopback while the context lasts; yields a kubeconfig in ``folder``."""
    app = web.Application()
    for resource, obj in ((POOLS, _POOL), (ENDPOINT_SLICES, FLEET.slice(POOL))):
        app.router.add_get(resource.path(FLEET.namespace), _collection(obj))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield _kubeconfig(folder / "kubeconfig", "http://{}:{}".format(*runner.addresses[0]))
    finally:
        await runner.cleanup()


def _collection(obj: Document) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Handles lists and watches of ``obj`` alone, which never changes."""

    listed = {"metadata": {"resourceVersion": "1"}, "items": [obj | {"metadata": {**obj["metadata"], **_META}}]}

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response(listed)
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    return answer


def _kubeconfig(path: Path, url: str) -> Path:
    document = {
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {"token": "unused"}}],
    }
    path.write_text(json.dumps(document))
    return path

"""A pod's environment on this machine: a service account, and a minimal API server with one pool."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from backendpool.api.constants import API_VERSION, KIND
from backendpool.k8s.resources import ENDPOINT_SLICES, POOLS
from bench.common.pool_fleet import Document, PoolFleet
from bench.startup.programs import SERVICE_ACCOUNT
from tools.certificates import Authority

FLEET: Final = PoolFleet("bench", pools=1, endpoints=3)
(POOL,) = FLEET.names()
_HOST: Final = "localhost"
_META: Final = {"uid": "u-1", "resourceVersion": "1"}

_POOL: Final[Document] = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"namespace": FLEET.namespace, "name": POOL},
    "spec": {"selector": {"bench": POOL}, "port": 50051},
    "status": {"revision": "1"},
}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """Serve on loopback; yield the environment variables of a pod's container."""
    authority = Authority.make(folder / "authority")
    account = folder / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("unused")
    (account / "ca.crt").write_bytes(authority.certificate)
    app = web.Application()
    for resource, obj in ((POOLS, _POOL), (ENDPOINT_SLICES, FLEET.slice(POOL))):
        app.router.add_get(resource.path(FLEET.namespace), _collection(obj))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls(folder, authority)).start()
        yield {
            "KUBERNETES_SERVICE_HOST": _HOST,
            "KUBERNETES_SERVICE_PORT": str(runner.addresses[0][1]),
            SERVICE_ACCOUNT: str(account),
        }
    finally:
        await runner.cleanup()


def _tls(folder: Path, authority: Authority) -> ssl.SSLContext:
    chain, key = folder / "tls.crt", folder / "tls.key"
    for path, content in zip((chain, key), authority.issue(_HOST), strict=True):
        path.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def _collection(obj: Document) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler for lists and watches of ``obj``, which never changes."""

    listed = {"metadata": {"resourceVersion": "1"}, "items": [obj | {"metadata": {**obj["metadata"], **_META}}]}

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response(listed)
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    return answer

"""An API server on loopback for all kinds that the operator uses: discovery, lists, watches, writes, outages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from backendpool.errors import ApiError, Forbidden, Gone, NotFound, Unauthorized
from backendpool.k8s.client import Api
from backendpool.k8s.request import APPLY
from backendpool.k8s.resources import CHILD_RESOURCES, ENDPOINT_SLICES, EVENTS, LEASES, POOLS, Resource
from tests.fakes.fake_api import FakeApi
from tests.fakes.objects import Document

NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace")
"""Never read, but kopf waits until it is discovered."""

RESOURCES: Final = (POOLS, ENDPOINT_SLICES, EVENTS, LEASES, NAMESPACES, *CHILD_RESOURCES.values())

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: fake
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
users: [{{name: fake, user: {{token: none}}}}]
"""


class ApiServer(FakeApi):
    """Serves the objects of a :class:`FakeApi` over HTTP.

    While ``away`` is True, every request fails and is counted in ``refused``. A resource in ``unserved`` has no CRD;
    watches of one in ``expired`` fail with 410. A list whose path is in ``held`` waits for its event. Requests in a
    ``forbidden`` namespace fail with 403; ``unwatchable`` kinds may be listed but not watched. If there is a ``token``,
    requests without it fail with 401. ``selected`` records the selectors of each list and watch, ``pages`` the number
    of whole objects in each page.
    """

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.away = False
        self.refused = 0
        self.token = ""
        self.unserved: set[Resource] = set()
        self.expired: set[Resource] = set()
        self.forbidden: set[str] = set()
        self.unwatchable: set[Resource] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.selected: list[tuple[Resource, str, str]] = []
        self.pages: list[tuple[Resource, int]] = []
        self._watches: set[asyncio.Event] = set()

    def go_away(self) -> None:
        """End all watches and fail every request until ``away`` is False again."""
        self.away = True
        self._wake()

    def watched(self, resource: Resource) -> bool:
        """Return whether the resource was ever watched."""
        return any(resource is asked for asked, _, _ in self.selected)

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[Path]:
        """Serve on a free loopback port while the context lasts; yields a kubeconfig in ``folder``."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG.format(url=self.url))
        try:
            yield kubeconfig
        finally:
            self.go_away()
            await runner.cleanup()

    @asynccontextmanager
    async def connected(self, folder: Path) -> AsyncIterator[Api]:
        """Yield a real API client of this server."""
        async with self.serving(folder) as kubeconfig, await Api.connect(str(kubeconfig)) as api:
            yield api

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            self.refused += 1
            return web.Response(status=503, text="away")
        try:
            if self.token and request.headers["Authorization"] != f"Bearer {self.token}":
                raise Unauthorized(401, "Unauthorized", "Unauthorized")
            return await self._served(request)
        except ApiError as error:
            return web.json_response(_status(error), status=error.status)

    async def _served(self, request: web.Request) -> web.StreamResponse:
        if discovered := self._discovery().get(request.path):
            return web.json_response(discovered)
        resource, namespace, name = self._named(request.path)
        if name:
            return web.json_response(await self._one(request, resource, namespace, name))
        if request.method == "POST":
            return web.json_response(await self.create(resource, await request.json()))
        selector = request.query.get("labelSelector", "")
        self.selected.append((resource, namespace, selector))
        if namespace in self.forbidden:
            raise Forbidden(403, "Forbidden", f'cannot list {resource.plural} in the namespace "{namespace}"')
        if "watch" in request.query and resource in self.unwatchable:
            raise Forbidden(403, "Forbidden", f"cannot watch {resource.plural}")
        if "watch" in request.query:
            return await self._watch(request, resource, namespace, selector)
        return await self._list(request, resource, namespace, selector)

    def _discovery(self) -> dict[str, Document]:
        """Return the discovery documents by path: the groups, and the kinds of each version."""
        served = [one for one in RESOURCES if one not in self.unserved]
        groups = {one.group: _group(one) for one in served if one.group}
        documents: dict[str, Document] = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "groups": [*groups.values()]},
        }
        for one in served:
            kinds = [_kind(other) for other in served if other.api_version == one.api_version]
            path = f"/{'apis' if one.group else 'api'}/{one.api_version}"
            documents[path] = {"kind": "APIResourceList", "groupVersion": one.api_version, "resources": kinds}
        return documents

    def _named(self, path: str) -> tuple[Resource, str, str]:
        """Return resource, namespace and name in a URL; the last two may be empty."""
        parts = path.removesuffix("/status").split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else ""
        for one in RESOURCES:
            collection = one.path(namespace or None)
            if one not in self.unserved and (path == collection or path.startswith(f"{collection}/")):
                return one, namespace, path.removeprefix(collection).removesuffix("/status").removeprefix("/")
        raise NotFound(404, "NotFound", "the server could not find the requested resource")

    async def _one(self, request: web.Request, resource: Resource, namespace: str, name: str) -> Document:
        if request.method == "GET":
            return await self.get(resource, namespace, name)
        body = await request.json()
        if request.method == "PATCH":
            return await (self.apply if request.content_type == APPLY else self.merge)(resource, body)
        if request.method == "PUT":
            return await (self.replace_status if request.path.endswith("/status") else self.replace)(resource, body)
        await self.delete(resource, namespace, name, uid=body["preconditions"]["uid"])
        return {"kind": "Status", "status": "Success"}

    async def _list(self, request: web.Request, resource: Resource, namespace: str, selector: str) -> web.Response:
        if request.path in self.held:
            await self.held[request.path].wait()
        found = [obj for obj in self.objects.values() if _selected(obj, resource, namespace, selector)]
        begin = int(request.query.get("continue", 0))
        end = begin + int(request.query.get("limit", len(found)))
        items, meta = found[begin:end], {"resourceVersion": str(len(self.history))}
        if end < len(found):
            meta["continue"] = str(end)
        if "as=PartialObjectMetadataList" in request.headers["Accept"]:
            items = [{"metadata": obj["metadata"]} for obj in items]
        else:
            self.pages.append((resource, len(items)))
        return web.json_response({"kind": f"{resource.kind}List", "metadata": meta, "items": items})

    async def _watch(
        self, request: web.Request, resource: Resource, namespace: str, selector: str
    ) -> web.StreamResponse:
        if resource in self.expired:
            return web.json_response({"type": "ERROR", "object": _status(Gone(410, "Expired", "too old"))})
        seen = int(request.query["resourceVersion"])
        news = asyncio.Event()
        self._watches.add(news)
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            while not self.away:
                news.clear()
                for event in self.history[seen:]:
                    seen += 1
                    if _selected(event["object"], resource, namespace, selector):
                        await response.write(json.dumps(event).encode() + b"\n")
                await news.wait()
        finally:
            self._watches.discard(news)
        return response

    def _happened(self, kind: str, obj: Document) -> None:
        super()._happened(kind, obj)
        self._wake()

    def _wake(self) -> None:
        for news in self._watches:
            news.set()


def _status(error: ApiError) -> Document:
    return {"kind": "Status", "code": error.status, "reason": error.reason, "message": error.message}


def _group(one: Resource) -> Document:
    version = {"groupVersion": one.api_version, "version": one.version}
    return {"name": one.group, "versions": [version], "preferredVersion": version}


def _kind(one: Resource) -> Document:
    return {"name": one.plural, "singularName": "", "namespaced": True, "kind": one.kind, "verbs": ["list", "watch"]}


def _selected(obj: Document, resource: Resource, namespace: str, selector: str) -> bool:
    meta = obj["metadata"]
    return (
        obj["kind"] == resource.kind
        and namespace in ("", meta["namespace"])
        and all(_has(meta.get("labels") or {}, term) for term in selector.split(",") if term)
    )


def _has(labels: Mapping[str, str], term: str) -> bool:
    key, equals, value = term.partition("=")
    return labels.get(key) == value if equals else key in labels

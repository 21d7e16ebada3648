"""Requests to the API server, in and out as plain JSON documents.

The Kubernetes client finds the server, the certificates and the token; its generated models are not used,
since parsing thousands of EndpointSlices into them costs more time and memory than all else together.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import aiohttp
from kubernetes.aio.client import ApiClient

from backendpool import __version__
from backendpool.cluster.call import JSON, METADATA, Call, Document, object_path, selection
from backendpool.cluster.credentials import Access, Credentials
from backendpool.cluster.failures import refusal, translated
from backendpool.cluster.resources import Resource
from backendpool.cluster.stream import decode_event, lines
from backendpool.errors import NotFound, Unreachable
from backendpool.names import FIELD_MANAGER

_WATCH_SECONDS = (240, 360)
"""The server ends a watch after a time of our choice between these, so that not all come back at once."""

PAGE = 100
"""Objects in a page of a list: a page is in memory as a whole while it is read, and slices can be large."""


class Api:
    """One API server. Made by :meth:`connect`; closed as an async context manager.

    Every method raises the :class:`~backendpool.errors.ClusterError` that fits, and no other.
    """

    def __init__(
        self, client: ApiClient, credentials: Credentials, timeout: float, guard: Callable[[], None] | None = None
    ) -> None:
        self.requests: Counter[str] = Counter()
        """Requests sent so far, by verb."""
        self._client = client
        self._credentials = credentials
        self._timeout = timeout
        self._guard = guard

    @classmethod
    async def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        timeout: float = 10.0,
        instance: str = "",
        guard: Callable[[], None] | None = None,
    ) -> Self:
        """Find the cluster; no request is sent yet. ``timeout`` is in seconds, for each request.

        ``instance`` tells this process from others in the API server's audit log. ``guard`` is called just
        before each request that writes; what it raises is raised, and nothing is sent.

        Taken is the kubeconfig or the context named here; else the pod's service account; else ``$KUBECONFIG``.
        Raises :class:`~backendpool.errors.SettingsError` where there is no cluster to be found.
        """
        credentials = await Credentials.find(kubeconfig, context)
        client = credentials.client()
        client.user_agent = f"{FIELD_MANAGER}/{__version__}" + (f" ({instance})" if instance else "")
        return cls(client, credentials, timeout, guard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def access(self) -> Access:
        """Where the API server is and who we are to it, read again, for another client in this process."""
        return await self._credentials.access()

    async def serves(self, resource: Resource) -> bool:
        """Whether the kind is there by now, in the list of groups and in its group: the two are not one write."""
        groups = await self._document(Call("GET", "/apis"))
        if resource.group not in [group["name"] for group in groups.get("groups") or ()]:
            return False
        try:
            kinds = await self._document(Call("GET", f"/apis/{resource.api_version}"))
        except NotFound:
            return False
        return resource.plural in [kind["name"] for kind in kinds.get("resources") or ()]

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        """One object."""
        return await self._document(Call("GET", resource.path(namespace, name)))

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
        continue_token: str = "",
        metadata_only: bool = False,
    ) -> Document:
        """One page of a list; ``metadata.continue`` of it leads to the next one.

        ``metadata_only`` spares the spec and status of its items, which may be nearly all of them.
        Its items have ``apiVersion`` and ``kind``, as objects from anywhere else: in lists of its own kinds, the
        API server leaves them out.
        """
        query = selection(label_selector, field_selector) | {"limit": str(limit)}
        if continue_token:
            query["continue"] = continue_token
        call = Call("GET", resource.path(namespace), query, accept=METADATA if metadata_only else JSON)
        page = await self._document(call)
        if "resourceVersion" not in (page.get("metadata") or {}):
            raise Unreachable(f"{call.method} {call.path}: the answer is not a list")
        page["items"] = [
            {"apiVersion": resource.api_version, "kind": resource.kind} | item for item in page.get("items") or ()
        ]
        return page

    async def apply(self, resource: Resource, obj: Document) -> Document:
        """Make the object so, as far as ``obj`` says, by server-side apply (KEP-555).

        Forced: what a controller is the owner of is not to be argued about with another field manager.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._document(
            Call("PATCH", object_path(resource, obj), query, obj, "application/apply-patch+yaml")
        )

    async def create(self, resource: Resource, obj: Document) -> Document:
        """Create the object; its name may be left to the server by ``generateName``."""
        path = resource.path(obj["metadata"]["namespace"])
        return await self._document(Call("POST", path, {"fieldManager": FIELD_MANAGER}, obj))

    async def replace(self, resource: Resource, obj: Document) -> Document:
        """Write all of ``obj``; :class:`~backendpool.errors.Conflict` unless its resourceVersion is the latest."""
        return await self._document(Call("PUT", object_path(resource, obj), {"fieldManager": FIELD_MANAGER}, obj))

    async def replace_status(self, resource: Resource, obj: Document) -> Document:
        """Write ``obj``'s status; :class:`~backendpool.errors.Conflict` unless its resourceVersion is the latest."""
        path = object_path(resource, obj, "status")
        return await self._document(Call("PUT", path, {"fieldManager": FIELD_MANAGER}, obj))

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this ``uid``; :class:`~backendpool.errors.Conflict` if it is another one by now.

        What it owns goes after it, in the background.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        await self._document(Call("DELETE", resource.path(namespace, name), body=options))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str,
        stall_seconds: float,
    ) -> AsyncGenerator[Document, None]:
        """The events after ``resource_version``, until the server ends the watch after some minutes.

        The first event is our own: a bookmark at ``resource_version`` as soon as the server took the watch, for
        a reader who wants to know that it is connected. Raises :class:`~backendpool.errors.Gone` where that
        version is too old, and :class:`~backendpool.errors.Unreachable` also where nothing, not even a bookmark
        (the server sends one a minute, KEP-956), came for ``stall_seconds``: a connection can be dead
        without either end having been told. Close it (:func:`contextlib.aclosing`) to end the request.
        """
        query = selection(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=stall_seconds)
        async with self._answer(Call("GET", resource.path(namespace), query), timeout) as response:
            yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": resource_version}}}
            async for line in lines(response.content.iter_any()):
                yield decode_event(line)

    async def _document(self, call: Call) -> Document:
        async with self._answer(call, aiohttp.ClientTimeout(total=self._timeout)) as response:
            body = await response.read()
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Unreachable(f"{call.method} {call.path}: the answer is not a JSON document: {body[:80]!r}")
        return document

    @asynccontextmanager
    async def _answer(self, call: Call, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to ``call``, if it is not a refusal; closed at the end, read or not."""
        with translated(f"{call.method} {call.path}"):
            async with asyncio.timeout(self._timeout):
                response = await self._authorized(call, timeout)
            try:
                if response.status >= 400:
                    raise await refusal(response)
                yield response
            finally:
                response.close()

    async def _authorized(self, call: Call, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send, and send again if the token was refused and there is a newer one: 401 means that nothing was done."""
        response, authorization = await self._send(call, timeout)
        if response.status == 401 and await self._credentials.renew(authorization):
            response.close()
            response, _ = await self._send(call, timeout)
        return response

    async def _send(self, call: Call, timeout: aiohttp.ClientTimeout) -> tuple[aiohttp.ClientResponse, str | None]:
        """The response, and what was sent as Authorization."""
        method, url, headers, _, _ = await self._client.param_serialize(
            call.method,
            call.path,
            query_params=dict(call.query),
            header_params={"Accept": call.accept, "Content-Type": call.content_type},
            auth_settings=["BearerToken"],
        )
        if self._guard and call.method != "GET":
            self._guard()
        self.requests[call.verb] += 1
        # The body goes around param_serialize, which walks through all of it for models and dates that are not there.
        answer = await self._client.rest_client.request(method, url, headers, call.body, _request_timeout=timeout)
        return answer.response, headers.get("authorization")

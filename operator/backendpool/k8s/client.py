"""A client of the API server whose objects are plain JSON documents.

Requests are sent by aiohttp. The Kubernetes client only loads kubeconfigs; parsing thousands of EndpointSlices into its
generated models would take more time and memory than everything else together.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import Self

import aiohttp

from backendpool import __version__
from backendpool.api.constants import FIELD_MANAGER
from backendpool.errors import NotFound, Stalled
from backendpool.k8s.access import Access
from backendpool.k8s.credentials import Credentials
from backendpool.k8s.request import (
    APPLY,
    JSON,
    MERGE,
    METADATA,
    METADATA_LIST,
    ApiRequest,
    Document,
    object_path,
    selection,
)
from backendpool.k8s.resources import Resource
from backendpool.k8s.responses import decode_event, lines, list_in, names_in, object_in
from backendpool.k8s.transport import Fence, Transport

_WATCH_SECONDS = (240, 360)
"""The range of a watch's random time limit, so that not all watches restart at once."""

PAGE = 100
"""Objects in a page of a list: a whole page is in memory while it is parsed, and slices can be large."""


class Api:
    """A client of one API server. Made by :meth:`connect`; closed as an async context manager.

    Every method raises :class:`~backendpool.errors.ClusterError` and its subclasses only.
    """

    def __init__(self, transport: Transport, credentials: Credentials) -> None:
        self.requests = transport.requests
        """Requests sent so far, by verb."""
        self.user_agent = transport.user_agent
        """The User-Agent header, which identifies this process in the API server's audit log."""
        self.namespace = credentials.namespace
        """The default namespace: the pod's own, or that of the kubeconfig's context."""
        self._transport = transport
        self._credentials = credentials

    @classmethod
    async def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        timeout: float = 10.0,
        program: str = "client",
        instance: str = "",
        fence: Fence = nullcontext,
    ) -> Self:
        """Find the cluster; no request is sent yet. ``timeout`` is in seconds, for each request.

        ``program`` and ``instance`` (by default the host's name, in a pod the pod's) make up the user agent. ``fence``
        is entered around each write; if that raises, nothing is sent.

        The cluster is that of ``kubeconfig`` and ``context`` if one is given, else of the pod's service account, else
        of ``$KUBECONFIG``. Raises :class:`~backendpool.errors.SettingsError` if there is none.
        """
        credentials = await Credentials.find(kubeconfig, context)
        user_agent = f"{FIELD_MANAGER}/{__version__} {program} ({instance or socket.gethostname()})"
        return cls(Transport(credentials, user_agent, timeout, fence), credentials)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def access(self) -> Access:
        """Read the credentials again and return them, for another client in this process."""
        return await self._credentials.access()

    async def serves(self, resource: Resource) -> bool:
        """Return whether the kind is served: discovery lists both its group and the kind, which appear one by one."""
        groups = await self._transport.fetch(ApiRequest("GET", "/apis"))
        if resource.group not in names_in(groups.get("groups")):
            return False
        try:
            kinds = await self._transport.fetch(ApiRequest("GET", f"/apis/{resource.api_version}"))
        except NotFound:
            return False
        return resource.plural in names_in(kinds.get("resources"))

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        return await self._transport.fetch(ApiRequest("GET", resource.path(namespace, name)), object_in)

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
        """Fetch one page of a list; its ``metadata.continue`` is the ``continue_token`` of the next one.

        With ``metadata_only`` the items have no spec and status. All items have ``apiVersion`` and ``kind``, which the
        API server leaves out in lists of built-in kinds.
        """
        query = selection(label_selector, field_selector) | {"limit": str(limit)}
        if continue_token:
            query["continue"] = continue_token
        request = ApiRequest("GET", resource.path(namespace), query, accept=METADATA_LIST if metadata_only else JSON)
        page = await self._transport.fetch(request, list_in)
        page["items"] = [{"apiVersion": resource.api_version, "kind": resource.kind} | item for item in page["items"]]
        return page

    async def create(self, resource: Resource, obj: Document) -> Document:
        """Create an object; raises :class:`~backendpool.errors.Conflict` if the name is taken.

        With ``generateName`` the server chooses the name.
        """
        return await self._write("POST", resource.path(obj["metadata"]["namespace"]), obj)

    async def apply(self, resource: Resource, obj: Document) -> Document:
        """Server-side apply (KEP-555), forced, as controllers do with objects that they own.

        If ``obj`` has a uid and a resourceVersion, raises :class:`~backendpool.errors.Conflict` unless they match.
        """
        return await self._write("PATCH", object_path(resource, obj), obj, APPLY, force="true")

    async def merge(self, resource: Resource, obj: Document) -> Document:
        """Merge patch (RFC 7396), bound to the resourceVersion as an apply is."""
        return await self._write("PATCH", object_path(resource, obj), obj, MERGE)

    async def replace(self, resource: Resource, obj: Document) -> Document:
        """Update an object; raises :class:`~backendpool.errors.Conflict` unless its resourceVersion is the latest."""
        return await self._write("PUT", object_path(resource, obj), obj)

    async def replace_status(self, resource: Resource, obj: Document) -> Document:
        """Update the status; raises :class:`~backendpool.errors.Conflict` unless the resourceVersion is the latest.

        Returns the metadata only, since the status may be nearly all of the object.
        """
        return await self._write("PUT", object_path(resource, obj, "status"), obj, accept=METADATA)

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this ``uid``, and what it owns in the background.

        Raises :class:`~backendpool.errors.Conflict` if the name has another object by now.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        await self._transport.fetch(ApiRequest("DELETE", resource.path(namespace, name), body=options))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str,
        idle_timeout: float,
    ) -> AsyncGenerator[Document, None]:
        """Yield the events after ``resource_version`` until the server ends the watch after some minutes.

        The first event is synthetic: a bookmark at ``resource_version``, yielded as soon as the request is accepted.
        A proxy may have accepted it, so this event does not prove that the API server answers. Raises
        :class:`~backendpool.errors.Gone` if the version is too old, and :class:`~backendpool.errors.Stalled` if nothing
        arrives for ``idle_timeout`` seconds, not even a bookmark (the server sends one a minute, KEP-956): the
        connection may be dead. Close the generator (:func:`contextlib.aclosing`) to end the request.
        """
        query = selection(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=idle_timeout)
        async with self._transport.send(ApiRequest("GET", resource.path(namespace), query), timeout) as response:
            yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": resource_version}}}
            try:
                async for line in lines(response.content.iter_any()):
                    yield decode_event(line)
            except TimeoutError as error:
                raise Stalled(f"the watch was silent for {idle_timeout:.0f} s") from error

    async def _write(
        self, method: str, path: str, obj: Document, form: str = JSON, accept: str = JSON, **query: str
    ) -> Document:
        request = ApiRequest(method, path, {"fieldManager": FIELD_MANAGER, **query}, obj, form, accept)
        return await self._transport.fetch(request, object_in)

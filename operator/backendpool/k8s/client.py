"""Requests to the API server, in and out as plain JSON documents.

They are sent by aiohttp. The Kubernetes client only loads kubeconfigs; its generated models are not used, since parsing
thousands of EndpointSlices into them costs more time and memory than all else together.
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
from backendpool.k8s.request import APPLY, JSON, MERGE, METADATA, METADATA_LIST, Call, Document, object_path, selection
from backendpool.k8s.resources import Resource
from backendpool.k8s.shape import list_in, names_in, object_in
from backendpool.k8s.stream import decode_event, lines
from backendpool.k8s.transport import Fence, Transport

_WATCH_SECONDS = (240, 360)
"""The server ends a watch after a time of our choice between these, so that not all come back at once."""

PAGE = 100
"""Objects in a page of a list: a page is in memory as a whole while it is read, and slices can be large."""


class Api:
    """One API server. Made by :meth:`connect`; closed as an async context manager.

    Every method raises the :class:`~backendpool.errors.ClusterError` that fits, and no other.
    """

    def __init__(self, transport: Transport, credentials: Credentials) -> None:
        self.requests = transport.requests
        """Requests sent so far, by verb."""
        self.user_agent = transport.user_agent
        """By what the API server tells this process from others."""
        self.namespace = credentials.namespace
        """The pod's own, or that of the kubeconfig's context: where something is whose namespace is not named."""
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

        ``program`` and ``instance`` (by default the host's name, which in a pod is the pod's) tell this process from
        others in the API server's audit log. ``fence`` is put around each request that writes; what it raises as it
        is entered is raised, and nothing is sent.

        Taken is the kubeconfig or the context named here; else the pod's service account; else ``$KUBECONFIG``.
        Raises :class:`~backendpool.errors.SettingsError` where there is no cluster to be found.
        """
        credentials = await Credentials.find(kubeconfig, context)
        user_agent = f"{FIELD_MANAGER}/{__version__} {program} ({instance or socket.gethostname()})"
        return cls(Transport(credentials, user_agent, timeout, fence), credentials)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def access(self) -> Access:
        """Where the API server is and who we are to it, read again, for another client in this process."""
        return await self._credentials.access()

    async def serves(self, resource: Resource) -> bool:
        """Whether the kind is there by now, in the list of groups and in its group: the two are not one write."""
        groups = await self._transport.document(Call("GET", "/apis"))
        if resource.group not in names_in(groups.get("groups")):
            return False
        try:
            kinds = await self._transport.document(Call("GET", f"/apis/{resource.api_version}"))
        except NotFound:
            return False
        return resource.plural in names_in(kinds.get("resources"))

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        """One object."""
        return await self._object(Call("GET", resource.path(namespace, name)))

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
        call = Call("GET", resource.path(namespace), query, accept=METADATA_LIST if metadata_only else JSON)
        page = await self._transport.document(call, list_in)
        page["items"] = [{"apiVersion": resource.api_version, "kind": resource.kind} | item for item in page["items"]]
        return page

    async def create(self, resource: Resource, obj: Document) -> Document:
        """Create the object; :class:`~backendpool.errors.Conflict` where there is one of its name.

        The name may be left to the server by ``generateName``.
        """
        return await self._written("POST", resource.path(obj["metadata"]["namespace"]), obj)

    async def apply(self, resource: Resource, obj: Document) -> Document:
        """Make the object so, as far as ``obj`` says, by server-side apply (KEP-555).

        Forced: what a controller is the owner of is not to be argued about with another field manager. Where ``obj``
        names a uid and a resourceVersion, :class:`~backendpool.errors.Conflict` unless they are those of its name.
        """
        return await self._written("PATCH", object_path(resource, obj), obj, APPLY, force="true")

    async def merge(self, resource: Resource, obj: Document) -> Document:
        """Change the fields that ``obj`` has (RFC 7396), bound to its resourceVersion as an apply is."""
        return await self._written("PATCH", object_path(resource, obj), obj, MERGE)

    async def replace(self, resource: Resource, obj: Document) -> Document:
        """Write all of ``obj``; :class:`~backendpool.errors.Conflict` unless its resourceVersion is the latest."""
        return await self._written("PUT", object_path(resource, obj), obj)

    async def replace_status(self, resource: Resource, obj: Document) -> Document:
        """Write ``obj``'s status; :class:`~backendpool.errors.Conflict` unless its resourceVersion is the latest.

        Answered is the metadata alone: the status is the one that was written, and may be nearly all of the object.
        """
        return await self._written("PUT", object_path(resource, obj, "status"), obj, accept=METADATA)

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
        await self._transport.document(Call("DELETE", resource.path(namespace, name), body=options))

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

        The first event is our own: a bookmark at ``resource_version`` as soon as the watch was taken, be it by
        something between us and the API server: it proves nothing. Raises :class:`~backendpool.errors.Gone` where
        that version is too old, and :class:`~backendpool.errors.Stalled` where nothing, not even a bookmark (the
        server sends one a minute, KEP-956), came for ``stall_seconds``: a connection can be dead without either
        end having been told. Close it (:func:`contextlib.aclosing`) to end the request.
        """
        query = selection(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=stall_seconds)
        async with self._transport.answer(Call("GET", resource.path(namespace), query), timeout) as response:
            yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": resource_version}}}
            try:
                async for line in lines(response.content.iter_any()):
                    yield decode_event(line)
            except TimeoutError as error:
                raise Stalled(f"nothing came for {stall_seconds:.0f} s") from error

    async def _written(
        self, method: str, path: str, obj: Document, form: str = JSON, accept: str = JSON, **query: str
    ) -> Document:
        return await self._object(Call(method, path, {"fieldManager": FIELD_MANAGER, **query}, obj, form, accept))

    async def _object(self, call: Call) -> Document:
        return await self._transport.document(call, object_in)

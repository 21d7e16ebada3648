"""A fake API server with one Lease, and a clock that tests can move."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator
from typing import Any

from backendpool.errors import Conflict, NotFound, Unreachable
from backendpool.k8s.resources import Resource


class LeaseServer:
    """A fake API server with one Lease.

    ``away`` fails every request. A write for which ``mute`` is set is carried out but gets no response while it is set.
    """

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.mute = False
        self.requests = 0
        self._versions = itertools.count(2)
        self._watchers: list[asyncio.Queue[dict[str, Any]]] = []

    def go_silent(self) -> None:
        """Make the open watches silent without ending them, like half-open connections."""
        self._watchers.clear()

    def give_to(self, identity: str) -> None:
        """Write another holder into the Lease."""
        assert self.lease is not None
        self._store("MODIFIED", {**self.lease, "spec": {**self.lease["spec"], "holderIdentity": identity}})

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        self._reached()
        if self.lease is None:
            raise NotFound(404, "NotFound", "no such lease")
        return copy.deepcopy(self.lease)

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        self._reached()
        if self.lease is not None:
            raise Conflict(409, "AlreadyExists", "it is there")
        return await self._written("ADDED", obj)

    async def replace(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        held = await self.get(resource, "ops", "lease")
        if held["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "it has changed")
        return await self._written("MODIFIED", obj)

    async def list_page(self, resource: Resource, namespace: str, **_: object) -> dict[str, Any]:
        self._reached()
        items = [copy.deepcopy(self.lease)] if self.lease else []
        version = self.lease["metadata"]["resourceVersion"] if self.lease else "0"
        return {"items": items, "metadata": {"resourceVersion": version}}

    async def watch(
        self, resource: Resource, namespace: str, *, resource_version: str, idle_timeout: float, **_: object
    ) -> AsyncIterator[dict[str, Any]]:
        self._reached()
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._watchers.append(events)
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": resource_version}}}
        if self.lease and int(self.lease["metadata"]["resourceVersion"]) > int(resource_version):
            yield {"type": "MODIFIED", "object": copy.deepcopy(self.lease)}
        while True:
            try:
                async with asyncio.timeout(idle_timeout):
                    event = await events.get()
            except TimeoutError:
                raise Unreachable("no response in time") from None
            yield event

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""

    async def _written(self, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
        answer = self._store(kind, obj)
        while self.mute:
            await asyncio.sleep(0.01)
        return answer

    def _store(self, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
        self.lease = copy.deepcopy(obj)
        self.lease["metadata"]["resourceVersion"] = str(next(self._versions))
        for events in self._watchers:
            events.put_nowait({"type": kind, "object": copy.deepcopy(self.lease)})
        return copy.deepcopy(self.lease)

    def _reached(self) -> None:
        self.requests += 1
        if self.away:
            raise Unreachable("connection refused")


class Clock:
    """The loop's time plus an offset, so that a paused process sees time jump."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead

"""An API server in memory: objects by path, versions, conflicts and rejections, as far as a reconcile needs them."""

from __future__ import annotations

import copy

from backendpool.api.constants import FIELD_MANAGER
from backendpool.errors import ApiError, ClusterError, Conflict, NotFound
from backendpool.k8s.resources import EVENTS, Resource
from tests.fakes.objects import Document

_CREATED = {"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": {}}
_APPLIED = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}

Ref = tuple[str, str, str]
"""Kind, namespace and name."""


class FakeApi:
    """Holds objects, and records each write as (verb, kind, name) in ``writes``.

    ``refusals`` maps a verb and a kind to the error to raise. The first event in ``history`` has resource version 1.
    """

    def __init__(self) -> None:
        self.objects: dict[Ref, Document] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.refusals: dict[tuple[str, str], ClusterError] = {}
        self.history: list[Document] = []

    def put(self, obj: Document) -> Document:
        """Store ``obj`` with a new version, as if another client had written it."""
        ref = _ref(obj)
        held = self.objects.get(ref)
        uid = held["metadata"]["uid"] if held else f"uid-{len(self.history)}"
        stored = copy.deepcopy(obj)
        stored["metadata"] = {"uid": uid} | stored["metadata"]
        self._happened("MODIFIED" if held else "ADDED", stored)
        self.objects[ref] = stored
        return copy.deepcopy(stored)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete the object, as if another client had."""
        self._happened("DELETED", copy.deepcopy(self.objects.pop((kind, namespace, name))))

    def children(self) -> dict[tuple[str, str], Document]:
        """Return all objects except pools, by kind and name."""
        return {(kind, name): obj for (kind, _, name), obj in self.objects.items() if kind != "GrpcBackendPool"}

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        self._allowed("get", resource)
        return copy.deepcopy(self._held(resource, namespace, name))

    async def list_page(self, resource: Resource, namespace: str, *, label_selector: str) -> Document:
        wanted = dict(label.split("=") for label in label_selector.split(",")).items()
        found = [obj for (kind, place, _), obj in self.objects.items() if (kind, place) == (resource.kind, namespace)]
        return {"items": [copy.deepcopy(obj) for obj in found if wanted <= obj["metadata"]["labels"].items()]}

    async def apply(self, resource: Resource, obj: Document) -> Document:
        """Apply ``obj``. Fails if the operator's own create still owns its fields, which an apply would not remove."""
        self._write("apply", resource, obj["metadata"]["name"])
        self._bound(resource, obj)
        if _CREATED in self.managed(_ref(obj)):
            raise ApiError(422, "Invalid", "fields of the creator stand beside those of the applier")
        return self.put({**obj, "metadata": {**obj["metadata"], "managedFields": [_APPLIED]}})

    async def merge(self, resource: Resource, obj: Document) -> Document:
        self._write("merge", resource, obj["metadata"]["name"])
        held = self._bound(resource, obj)
        return self.put({**held, **obj, "metadata": {**held["metadata"], **obj["metadata"]}})

    async def create(self, resource: Resource, obj: Document) -> Document:
        """Create ``obj``. Events are not stored, since nothing reads them."""
        if resource is EVENTS:
            self._write("create", resource, obj["reason"])
            return obj
        if _ref(obj) in self.objects:
            raise Conflict(409, "AlreadyExists", f"{resource.plural} {obj['metadata']['name']} already exists")
        self._write("create", resource, obj["metadata"]["name"])
        return self.put({**obj, "metadata": {**obj["metadata"], "managedFields": [_CREATED]}})

    async def replace(self, resource: Resource, obj: Document) -> Document:
        return self._replace("update", resource, obj, obj)

    async def replace_status(self, resource: Resource, obj: Document) -> Document:
        return {"metadata": self._replace("status", resource, obj, {"status": obj["status"]})["metadata"]}

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        held = self._held(resource, namespace, name)
        self._write("delete", resource, name)
        if held["metadata"]["uid"] != uid:
            raise Conflict(409, "Conflict", "the uid is another")
        self.remove(resource.kind, namespace, name)

    def managed(self, ref: Ref) -> list[Document]:
        """Return which manager owns which fields of the object."""
        found: list[Document] = self.objects[ref]["metadata"].get("managedFields", []) if ref in self.objects else []
        return found

    def _bound(self, resource: Resource, obj: Document) -> Document:
        """Return the stored object; raises if ``obj`` names another uid or version."""
        meta = obj["metadata"]
        held = self.objects.get((resource.kind, meta["namespace"], meta["name"]), {"metadata": {}})
        if any(held["metadata"].get(key) != meta[key] for key in ("uid", "resourceVersion") if key in meta):
            raise Conflict(409, "Conflict", "the object has been modified")
        return held

    def _replace(self, verb: str, resource: Resource, obj: Document, fields: Document) -> Document:
        meta = obj["metadata"]
        held = self._held(resource, meta["namespace"], meta["name"])
        self._write(verb, resource, meta["name"])
        if meta["resourceVersion"] != held["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        return self.put({**held, **fields})

    def _held(self, resource: Resource, namespace: str, name: str) -> Document:
        try:
            return self.objects[resource.kind, namespace, name]
        except KeyError:
            raise NotFound(404, "NotFound", f"{resource.plural} {name} not found") from None

    def _write(self, verb: str, resource: Resource, name: str) -> None:
        self.writes.append((verb, resource.kind, name))
        self._allowed(verb, resource)

    def _allowed(self, verb: str, resource: Resource) -> None:
        refusal = self.refusals.get((verb, resource.kind))
        if refusal:
            raise refusal

    def _happened(self, kind: str, obj: Document) -> None:
        obj["metadata"]["resourceVersion"] = str(len(self.history) + 1)
        self.history.append({"type": kind, "object": obj})


def _ref(obj: Document) -> Ref:
    return (obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])

"""A request to the API server, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from backendpool.k8s.resources import Resource

Document = dict[str, Any]

JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
METADATA: Final = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST: Final = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""The metadata of an object, or of those in a list."""

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request without its server and credentials."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Document | None = None
    content_type: str = JSON
    accept: str = JSON

    @property
    def verb(self) -> str:
        return verb_of(self.method, self.query)


def verb_of(method: str, query: Mapping[str, str]) -> str:
    """Return the verb as RBAC rules, audit logs and metrics have it; each page of a list is a ``list``."""
    if method == "GET":
        return "watch" if "watch" in query else "list" if "limit" in query else "get"
    return _VERBS[method]


def selection(label_selector: str, field_selector: str) -> dict[str, str]:
    """Return the query parameters of selectors."""
    chosen = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: selector for name, selector in chosen.items() if selector}


def object_path(resource: Resource, obj: Document, subresource: str | None = None) -> str:
    """Return the URL path of ``obj``."""
    return resource.path(obj["metadata"]["namespace"], obj["metadata"]["name"], subresource)

"""Temporary namespaces for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tools.cluster.kubectl import Kubectl

_LABELS = {"pod-security.kubernetes.io/enforce": "restricted"}


@contextmanager
def temporary_namespace(kubectl: Kubectl, word: str) -> Iterator[str]:
    """Create a namespace under the restricted Pod Security Standard within the context."""
    name = f"e2e-{word}-{uuid4().hex[:6]}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _LABELS}})
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

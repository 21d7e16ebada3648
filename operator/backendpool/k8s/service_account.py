"""The credentials of the pod's service account, as kubelet mounts them into each container.

https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api

The Kubernetes client can read them too, but importing any part of it imports all of it, with requests, oauthlib,
pydantic and YAML: half the CPU of a lookaside's start and a quarter of its memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from backendpool.k8s.access import Access, CredentialsError
from backendpool.runtime.clock import since_boot

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")

READ_AGAIN = 60.0
"""Seconds until the files are read again; kubelet rotates tokens well before they expire (KEP-1205)."""


class ServiceAccount:
    def __init__(self) -> None:
        self.namespace = ""
        self._access: Access | None = None
        self._read_at = 0.0

    async def load(self) -> None:
        self._load()

    def access(self) -> Access:
        if self._access is None or since_boot() - self._read_at >= READ_AGAIN:
            return self._load()
        return self._access

    def _load(self) -> Access:
        host, port = _variable("KUBERNETES_SERVICE_HOST"), _variable("KUBERNETES_SERVICE_PORT")
        token, certificate, namespace = FOLDER / "token", FOLDER / "ca.crt", FOLDER / "namespace"
        try:
            authorization = f"Bearer {token.read_text().strip()}"
            self.namespace = namespace.read_text().strip() if namespace.is_file() else ""
        except OSError as error:
            raise CredentialsError(f"{error.filename}: {error.strerror}") from error
        if authorization == "Bearer ":
            raise CredentialsError(f"{token} is empty")
        if not certificate.is_file():
            raise CredentialsError(f"{certificate} does not exist")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._access = Access(server, authorization, ca_path=str(certificate))
        self._read_at = since_boot()
        return self._access


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise CredentialsError(f"{name} is not set")
    return value

"""The credentials in use, from the pod's service account or a kubeconfig, and their renewal."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from backendpool.errors import SettingsError
from backendpool.k8s.access import Access, CredentialsError, CredentialSource
from backendpool.k8s.service_account import ServiceAccount
from backendpool.runtime.logs import FieldLogger

if TYPE_CHECKING:
    from backendpool.k8s.kubeconfig import Kubeconfig

log = FieldLogger(logging.getLogger(__name__))

_DEFAULT_NAMESPACE: Final = "default"
"""The default of kubectl and client-go."""


class Credentials:
    """The credentials of a source that is loaded; ``namespace`` is the default namespace."""

    def __init__(self, source: CredentialSource) -> None:
        self.namespace = source.namespace or _DEFAULT_NAMESPACE
        self._source = source
        self._renewing = asyncio.Lock()

    @classmethod
    async def find(cls, kubeconfig: str | None = None, context: str | None = None) -> Credentials:
        """Load those of the given kubeconfig or context, else the pod's service account, else ``$KUBECONFIG``.

        Raises :class:`SettingsError` if there are none.
        """
        problems = []
        if not (kubeconfig or context):
            account = ServiceAccount()
            try:
                await account.load()
                return cls(account)
            except CredentialsError as error:
                problems.append(f"service account: {error}")
        # In a thread: importing the Kubernetes client takes hundreds of milliseconds.
        source = await asyncio.to_thread(_kubeconfig, kubeconfig, context)
        try:
            await source.load()
            return cls(source)
        except CredentialsError as error:
            problems.append(f"kubeconfig {source.path}: {error}")
        raise SettingsError(
            f"no cluster found ({'; '.join(problems)}): run in a pod with a service account, "
            "or set KUBECONFIG to the file that kubectl uses"
        )

    def current(self) -> Access:
        """Return those for the next request; raises :class:`CredentialsError` if a token is due and cannot be read."""
        return self._source.access()

    async def renew(self, rejected: str | None) -> bool:
        """Load again after the server ``rejected`` an Authorization header; returns whether there is a new one.

        If many requests are rejected at the same time, only the first loads.
        """
        async with self._renewing:
            if self.current().authorization == rejected:
                await self._reload()
            return self.current().authorization != rejected

    async def access(self) -> Access:
        """Load the credentials again and return them."""
        async with self._renewing:
            await self._reload()
            return self.current()

    async def _reload(self) -> None:
        try:
            await self._source.load()
        except CredentialsError as error:
            log.warning("Reloading the credentials failed, keeping the previous ones", extra={"error": error})


def _kubeconfig(path: str | None, context: str | None) -> Kubeconfig:
    from backendpool.k8s.kubeconfig import Kubeconfig  # noqa: PLC0415  # a pod does not need it

    return Kubeconfig(path, context)

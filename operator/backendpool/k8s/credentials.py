"""Which credentials are used, from the pod's service account or from a kubeconfig, and when they are read again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from backendpool.errors import SettingsError
from backendpool.k8s.access import Access, CredentialsError, Source
from backendpool.k8s.service_account import ServiceAccount

if TYPE_CHECKING:
    from backendpool.k8s.kubeconfig import Kubeconfig

log = logging.getLogger(__name__)

_DEFAULT_NAMESPACE: Final = "default"
"""As kubectl and client-go have it, where neither the pod nor the kubeconfig's context names one."""


class Credentials:
    """Those of ``source``, which is loaded.

    ``namespace`` is the pod's own, or that of the kubeconfig's context.
    """

    def __init__(self, source: Source) -> None:
        self.namespace = source.namespace or _DEFAULT_NAMESPACE
        self._source = source
        self._renewing = asyncio.Lock()

    @classmethod
    async def find(cls, kubeconfig: str | None = None, context: str | None = None) -> Credentials:
        """Those of a named kubeconfig or context; else of the pod's service account; else of ``$KUBECONFIG``.

        Raises :class:`SettingsError` where there are none to be used.
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
            f"no cluster to talk to ({'; '.join(problems)}): run in a pod with a service account, "
            "or set KUBECONFIG to the file that kubectl uses"
        )

    def current(self) -> Access:
        """For the next request; raises :class:`CredentialsError` where a token is due to be read and cannot be."""
        return self._source.access()

    async def renew(self, rejected: str | None) -> bool:
        """Load again what the server ``rejected`` as Authorization; whether there is another one to try.

        Many requests can be refused at the same moment; the first loads for all.
        """
        async with self._renewing:
            if self.current().authorization == rejected:
                await self._reload()
            return self.current().authorization != rejected

    async def access(self) -> Access:
        """Read the credentials again and return them, for a caller whose last ones were refused."""
        async with self._renewing:
            await self._reload()
            return self.current()

    async def _reload(self) -> None:
        try:
            await self._source.load()
        except CredentialsError as error:
            log.warning("the credentials cannot be loaded again, going on with those of before: %s", error)


def _kubeconfig(path: str | None, context: str | None) -> Kubeconfig:
    from backendpool.k8s.kubeconfig import Kubeconfig  # noqa: PLC0415  # a pod does not need it

    return Kubeconfig(path, context)

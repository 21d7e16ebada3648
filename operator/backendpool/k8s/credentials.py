"""Where the API server is, and who we are to it: from the pod's service account, or from a kubeconfig."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import getproxies

import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import (
    ConfigException,
    incluster_config,
    kube_config,
    load_incluster_config,
    load_kube_config,
)

from backendpool.errors import SettingsError

log = logging.getLogger(__name__)

Load = Callable[[Configuration], Awaitable[str]]
"""Fills a configuration, and gives the namespace that is meant where none is named."""

_DEFAULT_NAMESPACE: Final = "default"
"""As kubectl and client-go have it, where neither the pod nor the kubeconfig's context names one."""

# The client takes the shape of a kubeconfig for granted: one that has another fails in any of these ways.
_UNUSABLE = (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and who we are to it, for another client in the same process.

    ``authorization`` is the header's value; the paths are of files in PEM.
    """

    server: str
    authorization: str | None
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    verify: bool


class Credentials:
    """A client configuration that can be loaded again: tokens rotate, and plugins make new ones.

    ``namespace`` is the pod's own, or that of the kubeconfig's context.
    """

    def __init__(self, configuration: Configuration, load: Load, namespace: str) -> None:
        self.namespace = namespace
        self._configuration = configuration
        self._load = load
        self._renewing = asyncio.Lock()

    @classmethod
    async def find(cls, kubeconfig: str | None = None, context: str | None = None) -> Credentials:
        """Those of a named kubeconfig or context; else of the pod's service account; else of ``$KUBECONFIG``.

        Raises :class:`SettingsError` where there are none to be used.
        """

        async def load_kubeconfig(configuration: Configuration) -> str:
            loaded = await load_kube_config(kubeconfig, context, configuration, persist_config=False)
            # A token file that was written by hand ends its line; a header must not.
            configuration.api_key = {name: key.strip() for name, key in configuration.api_key.items()}
            return loaded.current_context["context"].get("namespace") or _DEFAULT_NAMESPACE

        sources: dict[str, Load] = {} if kubeconfig or context else {"service account": _load_service_account}
        sources[f"kubeconfig {kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION}"] = load_kubeconfig
        problems = []
        for name, load in sources.items():
            configuration = _configuration()
            try:
                return cls(configuration, load, await load(configuration))
            except _UNUSABLE as error:
                problems.append(f"{name}: {str(error).rstrip('.')}")
        raise SettingsError(
            f"no cluster to talk to ({'; '.join(problems)}): run in a pod with a service account, "
            "or set KUBECONFIG to the file that kubectl uses"
        )

    def client(self) -> ApiClient:
        """A new client; raises :class:`SettingsError` where the certificates cannot be used."""
        try:
            return ApiClient(self._configuration)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"the cluster's certificates cannot be used ({error}): see the kubeconfig's certificate entries"
            ) from error

    async def renew(self, rejected: str | None) -> bool:
        """Load again what the server ``rejected`` as Authorization; whether there is another one to try.

        Many requests can be refused at the same moment; the first loads for all.
        """
        async with self._renewing:
            if await self._authorization() == rejected:
                await self._reload()
            return await self._authorization() != rejected

    async def access(self) -> Access:
        """What the pod or the kubeconfig says now, read again: whoever asks a second time was refused."""
        async with self._renewing:
            await self._reload()
            found = self._configuration
            return Access(
                server=found.host,
                authorization=await self._authorization(),
                ca_path=found.ssl_ca_cert,
                certificate_path=found.cert_file,
                private_key_path=found.key_file,
                verify=found.verify_ssl,
            )

    async def _reload(self) -> None:
        try:
            await self._load(self._configuration)
        except _UNUSABLE as error:
            log.warning("the credentials cannot be loaded again, going on with those of before: %s", error)

    async def _authorization(self) -> str | None:
        value: str | None = await self._configuration.get_api_key_with_prefix("BearerToken")
        return value


async def _load_service_account(configuration: Configuration) -> str:
    load_incluster_config(configuration)
    file = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
    return file.read_text().strip() if file.is_file() else _DEFAULT_NAMESPACE


def _configuration() -> Configuration:
    configuration = Configuration()
    # Each watch holds a connection for itself, so that a limit would be a deadlock in waiting.
    configuration.connection_pool_maxsize = 0
    # From 3.13 on, Python asks of certificates what the CAs of many clusters lack (an authority key identifier)
    # and no other Kubernetes client asks. Chain, name and dates are verified all the same.
    configuration.disable_strict_ssl_verification = True
    # Asked to look for a proxy and a .netrc, aiohttp hands each request through two threads before it is sent.
    configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
    return configuration

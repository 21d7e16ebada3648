"""The credentials of a kubeconfig, which the Kubernetes client loads: tokens, certificates, plugins, OIDC."""

from __future__ import annotations

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, kube_config, load_kube_config

from backendpool.k8s.access import Access, CredentialsError

# The client takes the shape of a kubeconfig for granted: one that has another fails in any of these ways.
_UNUSABLE = (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError)


class Kubeconfig:
    """The ``context`` of the kubeconfig at ``path``; by default the current one, and ``$KUBECONFIG``."""

    def __init__(self, path: str | None, context: str | None) -> None:
        self.path: str = path or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        self.namespace = ""
        self._path = path
        self._context = context
        self._configuration = Configuration()

    async def load(self) -> None:
        found = self._configuration
        try:
            loaded = await load_kube_config(self._path, self._context, found, persist_config=False)
            # A token file that was written by hand ends its line; a header must not.
            found.api_key = {name: key.strip() for name, key in found.api_key.items()}
            self.namespace = loaded.current_context["context"].get("namespace") or ""
        except _UNUSABLE as error:
            raise CredentialsError(str(error).rstrip(".")) from error

    def access(self) -> Access:
        found = self._configuration
        return Access(
            server=found.host,
            authorization=found.api_key.get("BearerToken"),
            ca_path=found.ssl_ca_cert,
            certificate_path=found.cert_file,
            private_key_path=found.key_file,
            verify=found.verify_ssl,
            server_name=found.tls_server_name,
            proxy=found.proxy,
        )

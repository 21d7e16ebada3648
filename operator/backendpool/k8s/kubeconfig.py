"""The credentials of a kubeconfig, loaded by the Kubernetes client: tokens, certificates, exec plugins, OIDC."""

from __future__ import annotations

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, kube_config, load_kube_config

from backendpool.k8s.access import Access, CredentialsError

# The client does not validate kubeconfigs: a malformed one fails with any of these.
_UNUSABLE = (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError)


class Kubeconfig:
    """A context of a kubeconfig; by default the current context of ``$KUBECONFIG``."""

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
            # A token file may end with a newline; a header must not.
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

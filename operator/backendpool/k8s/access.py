"""The address of the API server, and the credentials for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Protocol


class CredentialsError(Exception):
    """Credentials cannot be read or used."""


@dataclass(frozen=True, slots=True)
class Access:
    """The API server's URL, and the credentials for it.

    ``authorization`` is the value of the header. The files are PEM; without ``ca_path`` the system's CAs are trusted.
    ``server_name`` is the name in the server's certificate if it is not the host in ``server``.
    """

    server: str
    authorization: str | None
    ca_path: str | None = None
    certificate_path: str | None = None
    private_key_path: str | None = None
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None

    def tls(self) -> ssl.SSLContext:
        """Raises :class:`OSError`, including :class:`ssl.SSLError`, if the files cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_path)
        # Since 3.13, Python requires an authority key identifier, which the CAs of many clusters lack and no other
        # Kubernetes client requires. Chain, name and dates are still verified.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.certificate_path:
            context.load_cert_chain(self.certificate_path, self.private_key_path)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class CredentialSource(Protocol):
    """A service account or a kubeconfig. Both methods raise :class:`CredentialsError`."""

    @property
    def namespace(self) -> str:
        """The default namespace; empty if the source has none."""

    async def load(self) -> None:
        """Read everything again: tokens rotate, and plugins make new ones."""

    def access(self) -> Access:
        """The current credentials, once they are loaded."""

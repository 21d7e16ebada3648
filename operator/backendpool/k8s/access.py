"""The address of the API server, and the credentials for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Protocol


class CredentialsError(Exception):
    """Credentials that cannot be read, or not be used."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a client of the API server needs to know.

    ``authorization`` is the header's value. The paths are of files in PEM; without ``ca_path`` the system's CAs are
    trusted. ``server_name`` is the name in the server's certificate where it is not that in ``server``, a URL.
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
        """Raises :class:`OSError`, of which :class:`ssl.SSLError` is one, where the files cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_path)
        # From 3.13 on, Python asks of certificates what the CAs of many clusters lack (an authority key identifier)
        # and no other Kubernetes client asks. Chain, name and dates are verified all the same.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.certificate_path:
            context.load_cert_chain(self.certificate_path, self.private_key_path)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Source(Protocol):
    """Where credentials come from. Both methods raise :class:`CredentialsError`."""

    @property
    def namespace(self) -> str:
        """The namespace to use where none is given; empty if the source has none."""

    async def load(self) -> None:
        """Read everything again: tokens rotate, and plugins make new ones."""

    def access(self) -> Access:
        """The current credentials, once they are loaded."""

"""TLS by files in a folder, as a Secret of cert-manager's is mounted, and renewed ones without a restart.

Nothing is ever served without TLS in their place: files that cannot be used end the start with a sentence, and while
the server runs it goes on with the last ones that could.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from backendpool.errors import SettingsError

log = logging.getLogger(__name__)

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
CLIENTS_CA: Final = "ca.crt"

_CURRENT: Final = "..data"
"""kubelet replaces the files of a volume all at once, by this link."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """In PEM: what the server shows, and the CA whose certificates clients must show, None where they need none."""

    chain: bytes
    key: bytes
    clients_ca: bytes | None


class CertificateFolder:
    """The certificate in ``folder``; ``renewed`` is told when other files were found, and whether they are used."""

    def __init__(self, folder: Path, renewed: Callable[[bool], None]) -> None:
        self._folder = folder
        self._renewed = renewed
        self._seen = self._signature()
        self._certificate = _read(self._current())

    @property
    def mutual(self) -> bool:
        """Whether clients must show a certificate."""
        return self._certificate.clients_ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """For a server's port; the folder is looked at before each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._certificate),
            self._renewal,  # type: ignore[arg-type]  # its stub forgets that None leaves all as it was
            self.mutual,
        )

    def _renewal(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC, in a thread of its own; None where nothing is new that could be used."""
        signature = self._signature()
        if signature == self._seen:
            return None
        self._seen = signature
        try:
            certificate = _read(self._current())
            if (certificate.clients_ca is None) == self.mutual:
                raise SettingsError(
                    f"{CLIENTS_CA} {'went' if self.mutual else 'came'}, and whether clients must show a certificate is "
                    "settled when the server starts: restart the lookaside if that is meant"
                )
        except SettingsError as error:
            log.warning("going on with the certificate of before: %s", error)
            self._renewed(False)
            return None
        log.info("the certificate was renewed")
        self._certificate = certificate
        self._renewed(True)
        return _configuration(certificate)

    def _current(self) -> Path:
        """The folder that the files are in now; they are to be read from one and the same."""
        current = self._folder / _CURRENT
        return current.resolve() if current.exists() else self._folder

    def _signature(self) -> tuple[object, ...]:
        """Changes when a file does."""
        return tuple(_stamp(self._folder / name) for name in (CERTIFICATE, KEY, CLIENTS_CA))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _read(folder: Path) -> Certificate:
    """The files, if they can be used; raises :class:`SettingsError` with what is wrong with which."""
    chain, key, clients_ca = folder / CERTIFICATE, folder / KEY, folder / CLIENTS_CA
    for path in (chain, key):
        if not path.is_file():
            raise SettingsError(f"there is no {path.name}: put it into the Secret that spec.lookaside.tls names")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _blaming(f"{CERTIFICATE} and {KEY}", "a certificate chain and its own, unencrypted key"):
        context.load_cert_chain(chain, key, password=_no_password)
    if clients_ca.is_file():
        with _blaming(CLIENTS_CA, "the certificates of one or more CAs"):
            context.load_verify_locations(clients_ca)
    return Certificate(chain.read_bytes(), key.read_bytes(), clients_ca.read_bytes() if clients_ca.is_file() else None)


@contextmanager
def _blaming(what: str, wanted: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(f"{what} cannot be used ({error}): give {wanted}, in PEM") from error


def _no_password() -> str:
    """Else a terminal would be asked for one."""
    return ""


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)], certificate.clients_ca)

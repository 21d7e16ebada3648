"""TLS certificates from a mounted Secret in cert-manager's layout, reloaded when they change.

There is no fallback to plaintext. Invalid files are an error at the start; a running server keeps its last valid
certificate.
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
"""The symbolic link with which the kubelet replaces all files of a volume atomically."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The server's certificate chain and key, and the CA of client certificates (None without mutual TLS). All PEM."""

    chain: bytes
    key: bytes
    clients_ca: bytes | None


class CertWatcher:
    """Reads the certificate in ``folder``, and again when a file changes; ``on_reload`` gets whether that succeeded.

    Raises :class:`SettingsError` if the files are invalid.
    """

    def __init__(self, folder: Path, on_reload: Callable[[bool], None]) -> None:
        self._folder = folder
        self._on_reload = on_reload
        self._last_signature = self._signature()
        self._certificate = _read(self._resolved_folder())

    @property
    def mutual_tls(self) -> bool:
        """Whether clients must present a certificate."""
        return self._certificate.clients_ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """Return server credentials that check the folder for changes before each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._certificate),
            self._reload,  # type: ignore[arg-type]  # the stub does not know that None keeps the configuration
            self.mutual_tls,
        )

    def _reload(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the changed configuration, or None to keep the current one. Called in a thread of gRPC core."""
        signature = self._signature()
        if signature == self._last_signature:
            return None
        self._last_signature = signature
        try:
            certificate = _read(self._resolved_folder())
            if (certificate.clients_ca is None) == self.mutual_tls:
                change = "removed" if self.mutual_tls else "added"
                raise SettingsError(
                    f"{CLIENTS_CA} was {change}, but mutual TLS cannot change while the server runs: "
                    "restart the lookaside to apply it"
                )
        except SettingsError as error:
            log.warning("Reloading the certificate failed, keeping the previous one", extra={"error": error})
            self._on_reload(False)
            return None
        log.info("Reloaded the certificate")
        self._certificate = certificate
        self._on_reload(True)
        return _configuration(certificate)

    def _resolved_folder(self) -> Path:
        """Resolve the kubelet's symbolic link once, so that all files have the same version."""
        current = self._folder / _CURRENT
        return current.resolve() if current.exists() else self._folder

    def _signature(self) -> tuple[object, ...]:
        """Return a value that changes when a file does."""
        return tuple(_stamp(self._folder / name) for name in (CERTIFICATE, KEY, CLIENTS_CA))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _read(folder: Path) -> Certificate:
    """Read the files; raises :class:`SettingsError` with the file and the reason if one is invalid."""
    chain, key, clients_ca = folder / CERTIFICATE, folder / KEY, folder / CLIENTS_CA
    for path in (chain, key):
        if not path.is_file():
            raise SettingsError(f"{path.name} is missing: add it to the Secret that spec.lookaside.tls names")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _settings_error(f"{CERTIFICATE} and {KEY}", "a certificate chain and its own, unencrypted key"):
        context.load_cert_chain(chain, key, password=_no_password)
    if clients_ca.is_file():
        with _settings_error(CLIENTS_CA, "the certificates of one or more CAs"):
            context.load_verify_locations(clients_ca)
    return Certificate(chain.read_bytes(), key.read_bytes(), clients_ca.read_bytes() if clients_ca.is_file() else None)


@contextmanager
def _settings_error(files: str, expected: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(f"invalid {files} ({error}): expected {expected}, in PEM") from error


def _no_password() -> str:
    """Return no password. Without this callback, OpenSSL would prompt on the terminal for an encrypted key."""
    return ""


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.chain)], certificate.clients_ca)

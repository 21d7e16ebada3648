"""TLS credentials for a lookaside, from files named as in a Secret of type kubernetes.io/tls."""

from __future__ import annotations

from pathlib import Path

import grpc

from backendpool.errors import SettingsError


def credentials_in(folder: Path) -> grpc.ChannelCredentials:
    """Trust the CAs in ``ca.crt`` and present the certificate ``tls.crt`` with its key ``tls.key``.

    Without ``ca.crt``, gRPC's default CAs are trusted. Without ``tls.crt``, no certificate is presented, which a
    lookaside with mutual TLS rejects. Raises :class:`~backendpool.errors.SettingsError` if the folder cannot be used.
    """
    if not folder.is_dir():
        raise SettingsError(
            f"folder {folder} does not exist: expected one with ca.crt and, for mutual TLS, tls.crt and tls.key"
        )
    try:
        ca, key, chain = (_content(folder / name) for name in ("ca.crt", "tls.key", "tls.crt"))
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {error.strerror}") from error
    if (key is None) != (chain is None):
        raise SettingsError(f"{folder} has only one of tls.crt and tls.key: expected both or neither")
    return grpc.ssl_channel_credentials(ca, key, chain)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None

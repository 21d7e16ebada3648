"""``host:port``, as URIs (RFC 3986, section 3.2) and gRPC's names have it. Pure."""

from __future__ import annotations


def split_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Host and port, an IPv6 host without its brackets; raises :class:`ValueError` with what to write."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "" if default_port is None else str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"write an IPv6 address in brackets, as in [2001:db8::1]:50051, not {text!r}")
    if not host:
        raise ValueError(f"write host:port, not {text!r}")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f"write a port from 1 to 65535 after the host, not {text!r}")
    return host, int(port)


def join_authority(host: str, port: int) -> str:
    """The text of both, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

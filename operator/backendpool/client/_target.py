"""Targets: URIs that name where a client's endpoints come from. Pure.

::

    pool:///namespace/name                     the pool's status, by watch
    pool:///name                               in the namespace of the pod, or of the kubeconfig's context
    lookaside://host:port/namespace/name       the pool's lookaside, by Watch; the default port is 50055
    file:///path                               a file in YAML or JSON

The syntax is that of URIs (RFC 3986; RFC 8089 for files), with IPv6 hosts in brackets. ``str`` of a target is its URI.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from backendpool.api.constants import LOOKASIDE_PORT, is_label
from backendpool.api.endpoints import join_host_port
from backendpool.errors import TargetError

_FORMS: Final = "expected pool:///namespace/name, lookaside://host:port/namespace/name or file:///path"
_HOST: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?\.?")


@dataclass(frozen=True, slots=True)
class PoolTarget:
    """A GrpcBackendPool; an empty ``namespace`` is the client's own."""

    namespace: str
    name: str

    @property
    def pool(self) -> str:
        """The pool's name in messages."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"pool:///{self.namespace}/{self.name}" if self.namespace else f"pool:///{self.name}"


@dataclass(frozen=True, slots=True)
class LookasideTarget:
    """A pool's lookaside; ``host`` is a DNS name or an IP address without brackets."""

    host: str
    port: int
    namespace: str
    name: str

    @property
    def pool(self) -> str:
        """The pool's name in messages."""
        return f"{self.namespace}/{self.name}"

    @property
    def uri(self) -> str:
        """The gRPC target: all addresses of the host in DNS."""
        return f"dns:///{join_host_port(self.host, self.port)}"

    def __str__(self) -> str:
        return f"lookaside://{join_host_port(self.host, self.port)}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A local file, by its absolute path."""

    path: PurePosixPath

    @property
    def pool(self) -> str:
        """The pool's name in messages."""
        return str(self.path)

    def __str__(self) -> str:
        return "file://" + quote(str(self.path), errors="surrogateescape")


Target: TypeAlias = PoolTarget | LookasideTarget | FileTarget


def parse_target(text: str) -> Target:
    """Parse a target; raises :class:`~backendpool.errors.TargetError`."""
    scheme, separator, rest = text.partition("://")
    parse = _PARSERS.get(scheme) if separator else None
    try:
        if parse is None:
            raise ValueError(_FORMS)
        return parse(rest)
    except ValueError as error:
        raise TargetError(f"invalid target {text!r}: {error}") from None


def _pool(rest: str) -> PoolTarget:
    if not rest.startswith("/"):
        raise ValueError("expected pool:///namespace/name with three slashes")
    namespace, _, name = rest[1:].rpartition("/")
    if "/" in namespace or rest.startswith("//"):
        raise ValueError("expected pool:///namespace/name, or pool:///name for the current namespace")
    if namespace:
        _check_label("namespace", namespace)
    return PoolTarget(namespace, _check_label("name", name))


def _lookaside(rest: str) -> LookasideTarget:
    authority, _, path = rest.partition("/")
    if path.count("/") != 1:
        raise ValueError("expected lookaside://host:port/namespace/name")
    host, port = split_host_port(authority, LOOKASIDE_PORT)
    namespace, name = path.split("/")
    return LookasideTarget(_check_host(host), port, _check_label("namespace", namespace), _check_label("name", name))


def _file(rest: str) -> FileTarget:
    path = PurePosixPath(unquote(rest, errors="surrogateescape"))
    if not rest.startswith("/") or path.name == "" or "\0" in str(path):
        raise ValueError("expected file:///path with three slashes and an absolute path")
    return FileTarget(path)


_PARSERS: Final[dict[str, Callable[[str], Target]]] = {"pool": _pool, "lookaside": _lookaside, "file": _file}


def _check_label(part: str, text: str) -> str:
    if not is_label(text):
        raise ValueError(f"invalid {part} {text!r}: expected up to 63 lower-case letters, digits and hyphens")
    return text


def _check_host(host: str) -> str:
    """Return a DNS name as it is, an IP address in canonical form (RFC 5952)."""
    with suppress(ValueError):
        return str(ip_address(host))
    if not _HOST.fullmatch(host):
        raise ValueError(f"invalid host {host!r}: expected a DNS name or an IP address")
    return host


def split_host_port(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Split ``host:port`` (RFC 3986, section 3.2.2); an IPv6 host is returned without brackets.

    Raises :class:`ValueError` with what to write.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "" if default_port is None else str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"invalid address {text!r}: expected IPv6 in brackets, as in [2001:db8::1]:50051")
    if not host:
        raise ValueError(f"invalid address {text!r}: expected host:port")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ValueError(f"invalid address {text!r}: expected a port from 1 to 65535")
    return host, int(port)

"""The format of ``file:///``: a list of endpoints, and the load balancing. Pure.

::

    endpoints:
      - 10.0.0.1:50051
      - {address: 10.0.0.2, port: 50051, zone: a, pod: greet-1, state: Draining, weight: 2}
    policy: LeastRequest

``zone``, ``pod``, ``state`` (``Ready`` or ``Draining``) and ``weight`` are optional, as are ``policy``,
``emptyPolicy``, ``consistentHash``, ``outlierDetection`` and ``locality``, which are those of a GrpcBackendPool's spec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import parse_load_balancing
from backendpool.api.pool import PoolView
from backendpool.api.validation import choice, integer, mapping
from backendpool.client._target import split_host_port
from backendpool.errors import SourceError, SpecError
from backendpool.runtime.extras import extra

Load: TypeAlias = Callable[[bytes], object]
"""Parses a document; raises :class:`~backendpool.errors.SourceError` with the line."""

_FIELDS: Final = ("endpoints", "policy", "emptyPolicy", "consistentHash", "outlierDetection", "locality")
_OF_ENDPOINT: Final = ("address", "port", "zone", "pod", "state", "weight")
_MAX_WEIGHT: Final = 10_000


def loader_for(path: PurePath) -> Load:
    """Return the parser for ``path``: YAML by its suffix, else JSON.

    Raises :class:`~backendpool.errors.SettingsError` if the extra ``yaml`` is not installed.
    """
    return _yaml_loader() if path.suffix in (".yaml", ".yml") else _load_json


def parse_view(document: object) -> PoolView:
    """Validate a parsed document; raises :class:`~backendpool.errors.SourceError` with the field."""
    try:
        return _view(document)
    except SpecError as error:
        raise SourceError(f"{error.field.removeprefix('spec.')}: {error.problem}") from None


def _view(document: object) -> PoolView:
    if not isinstance(document, Mapping) or not isinstance(document.get("endpoints"), list):
        raise SpecError("endpoints", "give a map with this field, and in it a list of endpoints")
    _check_fields("", document, _FIELDS)
    endpoints = (_endpoint(f"endpoints[{place}]", value) for place, value in enumerate(document["endpoints"]))
    return PoolView(EndpointSet.of(endpoints), parse_load_balancing(document))


def _endpoint(path: str, value: object) -> Endpoint:
    fields = _split(path, value) if isinstance(value, str) else mapping(path, value)
    _check_fields(f"{path}.", fields, _OF_ENDPOINT)
    if "port" not in fields:
        raise SpecError(f"{path}.port", "give the port that the backend listens on")
    return Endpoint(
        address=_address(path, fields),
        port=integer(path, fields, "port", 0, 1, 65535),
        pod_name=_text(path, fields, "pod"),
        zone=_text(path, fields, "zone"),
        state=choice(EndpointState, f"{path}.state", fields.get("state", EndpointState.READY)),
        weight=integer(path, fields, "weight", 0, 0, _MAX_WEIGHT),
    )


def _split(path: str, text: str) -> dict[str, Any]:
    try:
        address, port = split_host_port(text)
    except ValueError as error:
        raise SpecError(path, str(error)) from None
    return {"address": address, "port": port}


def _address(path: str, fields: Mapping[str, Any]) -> str:
    address = _text(path, fields, "address")
    with suppress(ValueError):
        return str(ip_address(address))
    raise SpecError(f"{path}.address", f"give an IP address, such as 127.0.0.1, not {address!r}")


def _text(path: str, fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise SpecError(f"{path}.{name}", f"give a string, not {value!r}")
    return value


def _check_fields(prefix: str, fields: Mapping[Any, Any], known: Iterable[str]) -> None:
    """Reject unknown fields, which are probably typing errors."""
    for name in fields:
        if name not in known:
            raise SpecError(f"{prefix}{name}", f"this version knows {', '.join(known)}")


def _load_json(content: bytes) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise SourceError(f"line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"line {_line(content, error.start)}: this is not UTF-8") from error


def _yaml_loader() -> Load:
    with extra("yaml"):
        import yaml  # noqa: PLC0415  # the base install has none, and JSON needs none

    def load(content: bytes) -> object:
        try:
            return yaml.safe_load(content)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SourceError(f"line {line}: {error.problem}") from error
        except yaml.reader.ReaderError as error:
            raise SourceError(f"line {_line(content, error.position)}: {error.reason}") from error

    return load


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1

"""The typed spec of a pool. Pure.

The CRD's schema and CEL rules reject invalid specs at admission. The checks here only matter with an older or newer
CRD, whose specs this version may not understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from backendpool.api.constants import LOOKASIDE_PORT
from backendpool.api.load_balancing import DEFAULT, LoadBalancing, parse_load_balancing
from backendpool.api.quantity import Quantity
from backendpool.api.validation import integer, mapping
from backendpool.errors import SpecError

MAX_PORT: Final = 65535
MAX_REPLICAS: Final = 100
_NOTHING: Final = Quantity(0, 0)
_MAX_AMOUNT: Final = Quantity(1, 15)


def default_resources() -> dict[str, Any]:
    """Return the default resources of a lookaside: no CPU limit, since throttling would delay every update."""
    return {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}


@dataclass(frozen=True, slots=True)
class LookasideSpec:
    """The spec of the lookaside; with 0 ``replicas`` there is none."""

    replicas: int = 2
    port: int = LOOKASIDE_PORT
    resources: Mapping[str, Any] = field(default_factory=default_resources)
    """``requests`` and ``limits`` of each container, as in a pod; empty for neither."""
    tls_secret: str = ""
    """Name of the Secret with the server's certificate; empty for plaintext."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """``spec`` of a GrpcBackendPool. ``port`` is the number or the name of a container port.

    The defaults are those of the CRD's schema, for pools from before a field existed.
    """

    selector: Mapping[str, str]
    port: int | str
    balancing: LoadBalancing = DEFAULT
    lookaside: LookasideSpec = field(default_factory=LookasideSpec)
    readers: tuple[str, ...] = ()
    """Names of service accounts in the pool's namespace."""


def parse_spec(spec: object) -> PoolSpec:
    """Parse a spec; raises :class:`SpecError` with the invalid field."""
    fields = mapping("spec", spec)
    return PoolSpec(
        selector=_selector(fields.get("selector")),
        port=_port(fields.get("port")),
        balancing=parse_load_balancing(fields),
        lookaside=_lookaside(mapping("spec.lookaside", fields.get("lookaside"))),
        readers=_readers(fields.get("readers")),
    )


def _selector(value: object) -> dict[str, str]:
    selector = mapping("spec.selector", value)
    if not selector or not all(isinstance(label, str) for label in selector.values()):
        raise SpecError("spec.selector", "name at least one pod label and its value, as in a Service")
    return selector


def _port(value: object) -> int | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_PORT:
        return value
    raise SpecError("spec.port", "give the number or the name of the container port that serves gRPC")


def _lookaside(fields: Mapping[str, Any]) -> LookasideSpec:
    path, default = "spec.lookaside", LookasideSpec()
    return LookasideSpec(
        replicas=integer(path, fields, "replicas", default.replicas, 0, MAX_REPLICAS),
        port=integer(path, fields, "port", default.port, 1, MAX_PORT),
        resources=_resources(fields.get("resources", default.resources)),
        tls_secret=_tls_secret(fields.get("tls")),
    )


def _resources(value: object) -> dict[str, dict[str, Any]]:
    path = "spec.lookaside.resources"
    found = {kind: mapping(f"{path}.{kind}", amounts) for kind, amounts in mapping(path, value).items()}
    for kind, amounts in found.items():
        for name, amount in amounts.items():
            _check_amount(f"{path}.{kind}.{name}", amount)
    return found


def _check_amount(path: str, value: object) -> None:
    """Reject impossible quantities: the API server itself takes minutes to compare ``1e100000000``."""
    amount = Quantity.parse(value)
    if amount is None or not _NOTHING <= amount <= _MAX_AMOUNT:
        raise SpecError(path, "give an amount such as 100m of cpu or 128Mi of memory, at most 1P")


def _tls_secret(value: object) -> str:
    if value is None:
        return ""
    name = mapping("spec.lookaside.tls", value).get("secretName")
    if not isinstance(name, str) or not name:
        raise SpecError("spec.lookaside.tls.secretName", "name the Secret that holds tls.crt and tls.key")
    return name


def _readers(value: object) -> tuple[str, ...]:
    readers = [] if value is None else value
    if not isinstance(readers, list):
        raise SpecError("spec.readers", "give a list of {serviceAccount: <name>}")
    names = [mapping("spec.readers", reader).get("serviceAccount") for reader in readers]
    if not all(isinstance(name, str) and name for name in names):
        raise SpecError("spec.readers", "give each reader the serviceAccount that may read the pool")
    return tuple(str(name) for name in names)

"""The pool as its author wrote it, typed. Pure, no I/O.

Bad specs are refused at admission by the CRD's schema and CEL rules; the checks here only keep a program
that meets an older or newer CRD from acting on what it does not understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from backendpool.errors import SpecError
from backendpool.names import LOOKASIDE_PORT

E = TypeVar("E", bound=StrEnum)

MAX_PORT: Final = 65535
MAX_REPLICAS: Final = 100


class Policy(StrEnum):
    """How a client spreads its calls."""

    ROUND_ROBIN = "RoundRobin"
    RANDOM = "Random"


class EmptyPolicy(StrEnum):
    """What a client does when no endpoint is left."""

    FAIL = "Fail"
    """Fail calls at once."""
    KEEP_LAST = "KeepLast"
    """Go on with the last endpoints that were known."""


def default_resources() -> dict[str, Any]:
    """What a lookaside container asks for: no CPU limit, since throttling would delay every update."""
    return {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}


@dataclass(frozen=True, slots=True)
class LookasideSpec:
    """The pool's lookaside server; ``replicas`` 0 means none."""

    replicas: int = 2
    port: int = LOOKASIDE_PORT
    resources: Mapping[str, Any] = field(default_factory=default_resources)
    """``requests`` and ``limits`` of each container, as in a pod; empty for neither."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """``spec`` of a GrpcBackendPool. ``port`` is the number or the name of a container port.

    The defaults are those of the CRD's schema, for programs that meet a pool from before a field was there.
    """

    selector: Mapping[str, str]
    port: int | str
    policy: Policy = Policy.ROUND_ROBIN
    empty_policy: EmptyPolicy = EmptyPolicy.FAIL
    lookaside: LookasideSpec = field(default_factory=LookasideSpec)
    readers: tuple[str, ...] = ()
    """Names of service accounts in the pool's namespace."""


def parse_spec(spec: object) -> PoolSpec:
    """Read ``spec``; raises :class:`SpecError` with the field where it cannot be acted on."""
    fields = _mapping("spec", spec)
    return PoolSpec(
        selector=_selector(fields.get("selector")),
        port=_port(fields.get("port")),
        policy=_choice(Policy, "spec.policy", fields.get("policy", Policy.ROUND_ROBIN)),
        empty_policy=_choice(EmptyPolicy, "spec.emptyPolicy", fields.get("emptyPolicy", EmptyPolicy.FAIL)),
        lookaside=_lookaside(_mapping("spec.lookaside", fields.get("lookaside"))),
        readers=_readers(fields.get("readers")),
    )


def _selector(value: object) -> dict[str, str]:
    selector = _mapping("spec.selector", value)
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
    default = LookasideSpec()
    resources = fields.get("resources", default.resources)
    return LookasideSpec(
        replicas=_integer(fields, "replicas", default.replicas, 0, MAX_REPLICAS),
        port=_integer(fields, "port", default.port, 1, MAX_PORT),
        resources=_mapping("spec.lookaside.resources", resources),
    )


def _readers(value: object) -> tuple[str, ...]:
    readers = [] if value is None else value
    if not isinstance(readers, list):
        raise SpecError("spec.readers", "give a list of {serviceAccount: <name>}")
    names = [_mapping("spec.readers", reader).get("serviceAccount") for reader in readers]
    if not all(isinstance(name, str) and name for name in names):
        raise SpecError("spec.readers", "give each reader the serviceAccount that may read the pool")
    return tuple(str(name) for name in names)


def _mapping(field_path: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SpecError(field_path, f"give a map of fields, not {value!r}")
    return dict(value)


def _integer(fields: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SpecError(f"spec.lookaside.{name}", f"give a whole number from {low} to {high}, not {value!r}")
    return value


def _choice(kind: type[E], field_path: str, value: object) -> E:
    for choice in kind:
        if choice == value:
            return choice
    raise SpecError(field_path, f"this version knows {', '.join(kind)}, not {value!r}")

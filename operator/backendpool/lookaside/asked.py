"""Whether a client asks the right server, and what it is told where it does not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that is not served: the gRPC status, and a sentence that says what to do."""

    code: StatusCode
    details: str


def refuse_others(asked: tuple[str, str], ours: tuple[str, str]) -> Refusal | None:
    """None where the namespace and the Service that are ``asked`` for are ``ours``."""
    (namespace, service), (our_namespace, our_service) = asked, ours
    if not service:
        return Refusal(
            StatusCode.INVALID_ARGUMENT, f"service is empty: give the name of the Service, here {our_service}"
        )
    if not namespace:
        return Refusal(
            StatusCode.INVALID_ARGUMENT,
            f"namespace is empty: give the namespace of the Service, here {our_namespace}",
        )
    if asked != ours:
        return Refusal(
            StatusCode.NOT_FOUND,
            f"this server knows {our_service} in namespace {our_namespace} and no other Service: "
            "ask the lookaside of the pool that you want",
        )
    return None

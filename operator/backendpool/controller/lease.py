"""The Lease object (coordination.k8s.io/v1): what it says, and how it is written. Who may write it is the elector's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backendpool.k8s.client import Api
from backendpool.k8s.resources import LEASES


@dataclass(frozen=True, slots=True)
class Claim:
    """What a Lease says, and ``seen``: when we first saw it say so, on our own clock."""

    holder: str
    duration: int
    transitions: int
    version: str
    seen: float

    def free_at(self, candidate: str) -> float:
        """From when on ``candidate`` may take it: at once where nobody holds it, or itself by a write unanswered."""
        return self.seen if self.holder in ("", candidate) else self.seen + self.duration


class LeaseLock:
    """The Lease ``namespace``/``name``, whose holder has it for ``duration`` seconds from each write.

    Each write is bound to the version that was written or taken last: it raises ``Conflict`` where there is a later
    one, ``NotFound`` where there is none any more, and any other ``ClusterError``.
    """

    def __init__(self, api: Api, namespace: str, name: str, duration: int) -> None:
        self.name = name
        self.key = (namespace, name)
        self._api = api
        self._duration = duration
        self._version = ""
        self._transitions = 0
        self._acquired = ""

    def claim(self, lease: dict[str, Any], seen: float) -> Claim:
        """Read a Lease as the API server sends it."""
        spec = lease.get("spec") or {}
        return Claim(
            holder=spec.get("holderIdentity") or "",
            duration=spec.get("leaseDurationSeconds") or self._duration,
            transitions=spec.get("leaseTransitions") or 0,
            version=lease["metadata"]["resourceVersion"],
            seen=seen,
        )

    async def read(self) -> dict[str, Any]:
        return await self._api.get(LEASES, *self.key)

    async def take(self, holder: str, claim: Claim | None) -> None:
        """Write the first time, over what the Lease says; None where there is none."""
        self._version = claim.version if claim else ""
        self._transitions = claim.transitions + 1 if claim else 0
        self._acquired = _now()
        await self.write(holder)

    async def write(self, holder: str) -> None:
        """Renew it for ``holder``; an empty one gives it back."""
        document = self._document(holder)
        answer = await (self._api.replace if self._version else self._api.create)(LEASES, document)
        self._version = answer["metadata"]["resourceVersion"]

    def go_on_from(self, lease: dict[str, Any]) -> None:
        """Bind the next write to this version."""
        self._version = lease["metadata"]["resourceVersion"]

    def _document(self, holder: str) -> dict[str, Any]:
        namespace, name = self.key
        version = {"resourceVersion": self._version} if self._version else {}
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": namespace, "name": name, **version},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": self._duration,
                "leaseTransitions": self._transitions,
                "acquireTime": self._acquired,
                "renewTime": _now(),
            },
        }


def _now() -> str:
    """For people to read: no decision is taken by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

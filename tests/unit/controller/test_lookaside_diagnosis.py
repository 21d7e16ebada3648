"""When the pods of a lookaside are asked, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from backendpool.api.pool import Pool
from backendpool.controller.lookaside_diagnosis import LookasideDiagnosis
from backendpool.errors import ApiError, Forbidden
from backendpool.k8s.client import Api
from backendpool.k8s.resources import PODS, Resource
from tests.fakes.pools import pool

POOL = pool(lookaside={"tls": {"secretName": "greet-tls"}})
WAITING = {
    "metadata": {"name": "greetserver-lookaside-1"},
    "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
}


def deployment(**status: int) -> dict[str, Any]:
    return {"spec": {"replicas": 2}, "status": status}


class FakePods:
    """The pods that there are, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[tuple[Resource, str, str]] = []
        self.refusal: ApiError | None = None
        self.diagnosis = LookasideDiagnosis(cast("Api", self), lambda: self.now)

    async def list_page(self, resource: Resource, namespace: str, *, label_selector: str) -> dict[str, Any]:
        self.asked.append((resource, namespace, label_selector))
        if self.refusal:
            raise self.refusal
        return {"items": [WAITING]}

    async def look(self, seconds: float, of: dict[str, Any] | None, pool_: Pool = POOL) -> tuple[str, float | None]:
        """At the Deployment, so many seconds later."""
        self.now += seconds
        return await self.diagnosis.diagnose(pool_, of)


async def test_healthy_lookaside_is_not_asked() -> None:
    """No request where all replicas are available, or there is no lookaside."""
    pods = FakePods()
    assert await pods.look(0, deployment(availableReplicas=2)) == ("", None)
    assert await pods.look(0, None) == ("", None)
    assert pods.asked == []


async def test_pods_are_asked_after_a_while() -> None:
    """A start takes its time; what takes longer is looked into, and looked at again: the longer it lasts, the later."""
    pods = FakePods()
    assert await pods.look(0, deployment()) == ("", 10.0)
    assert await pods.look(4, deployment()) == ("", 6.0)
    assert pods.asked == []
    problem, again = await pods.look(6, deployment())
    assert problem.startswith("pod greetserver-lookaside-1 waits for its volumes: see that there is a Secret greet-tls")
    assert again == 15.0
    selector = "app.kubernetes.io/name=backendpool-lookaside,backendpool.io/pool=greetserver"
    assert pods.asked == [(PODS, "default", selector)]
    assert (await pods.look(50, deployment()))[1] == 60.0
    assert (await pods.look(5000, deployment()))[1] == 300.0


async def test_rollout_that_does_not_get_on_is_looked_into() -> None:
    """Enough replicas are available, and the new one is not."""
    pods = FakePods()
    stuck = deployment(availableReplicas=2, unavailableReplicas=1)
    await pods.look(0, stuck)
    assert (await pods.look(10, stuck))[0]


async def test_recovery_begins_the_patience_anew() -> None:
    """What was unavailable once is given its time again."""
    pods = FakePods()
    await pods.look(0, deployment())
    await pods.look(20, deployment(availableReplicas=2))
    assert await pods.look(20, deployment()) == ("", 10.0)


async def test_restarted_operator_takes_nothing_back() -> None:
    """A problem that the status tells of is looked into at once, and does not go from it meanwhile."""
    pods = FakePods()
    told = {"conditions": [{"type": "LookasideAvailable", "status": "False", "reason": "LookasideUnavailable"}]}
    assert (await pods.look(0, deployment(), replace(POOL, status=told)))[0]


async def test_operator_without_the_right_knows_no_reason() -> None:
    """A role of an older version is no failure."""
    pods = FakePods()
    pods.refusal = Forbidden(403, "Forbidden", "no")
    await pods.look(0, deployment())
    assert await pods.look(10, deployment()) == ("", 15.0)

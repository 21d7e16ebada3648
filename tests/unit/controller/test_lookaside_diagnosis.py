"""When lookaside pods are listed, and what the diagnosis says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from backendpool.api.pool import Pool
from backendpool.controller.lookaside_diagnosis import LookasideDiagnosis
from backendpool.errors import ApiError, Forbidden
from backendpool.k8s.client import Api
from backendpool.k8s.resources import PODS, Resource
from tests.fakes.objects import deployment, parsed_pool, pod

POOL = parsed_pool(lookaside={"tls": {"secretName": "greet-tls"}})
WAITING = pod("greetserver-lookaside-1", state={"waiting": {"reason": "ContainerCreating"}})


class FakePods:
    """A fake list of pods, and a clock."""

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
        """Diagnose the Deployment ``seconds`` later."""
        self.now += seconds
        return await self.diagnosis.diagnose(pool_, of)


async def test_healthy_lookaside_is_not_asked() -> None:
    """Pods are not listed while all replicas are available, or without a lookaside."""
    pods = FakePods()
    assert await pods.look(0, deployment(availableReplicas=2)) == ("", None)
    assert await pods.look(0, None) == ("", None)
    assert pods.asked == []


async def test_pods_are_asked_after_a_while() -> None:
    """Pods are listed only after the time that a start may take, then less and less often."""
    pods = FakePods()
    assert await pods.look(0, deployment()) == ("", 10.0)
    assert await pods.look(4, deployment()) == ("", 6.0)
    assert pods.asked == []
    problem, again = await pods.look(6, deployment())
    assert problem.startswith("pod greetserver-lookaside-1 waits for its volumes: check that there is a Secret")
    assert again == 15.0
    selector = "app.kubernetes.io/name=backendpool-lookaside,backendpool.io/pool=greetserver"
    assert pods.asked == [(PODS, "default", selector)]
    assert (await pods.look(50, deployment()))[1] == 60.0
    assert (await pods.look(5000, deployment()))[1] == 300.0


async def test_rollout_that_does_not_get_on_is_looked_into() -> None:
    """A stuck rollout is diagnosed although enough old replicas are available."""
    pods = FakePods()
    stuck = deployment(availableReplicas=2, unavailableReplicas=1)
    await pods.look(0, stuck)
    assert (await pods.look(10, stuck))[0]


async def test_recovery_begins_the_patience_anew() -> None:
    """After a recovery, the next problem gets the full start-up time again."""
    pods = FakePods()
    await pods.look(0, deployment())
    await pods.look(20, deployment(availableReplicas=2))
    assert await pods.look(20, deployment()) == ("", 10.0)


async def test_restarted_operator_takes_nothing_back() -> None:
    """A restarted operator diagnoses a reported problem at once and does not clear it meanwhile."""
    pods = FakePods()
    told = {"conditions": [{"type": "LookasideAvailable", "status": "False", "reason": "LookasideUnavailable"}]}
    assert (await pods.look(0, deployment(), replace(POOL, status=told)))[0]


async def test_operator_without_the_right_knows_no_reason() -> None:
    """Without permission to list pods, the diagnosis gives no reason and does not fail."""
    pods = FakePods()
    pods.refusal = Forbidden(403, "Forbidden", "no")
    await pods.look(0, deployment())
    assert await pods.look(10, deployment()) == ("", 15.0)

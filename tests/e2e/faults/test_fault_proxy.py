"""Every failure of the connection to the API server, for every component that depends on it, while pods are replaced.

Operators, lookaside and gateway reach the API server through the fault proxy (support/faults/fault_proxy.py), and each
of them meets each fault. Each test ends with the same check: status, lookaside and gateways converge to the pods, and
no call through the pool failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from tests.e2e.support.faults.convergence import MonitoredPool, monitoring
from tests.e2e.support.faults.fault_proxy import FaultProxy, all_through_proxy
from tests.e2e.support.faults.monitored_pool import operators
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools
from tools.fault_proxy.rules import Action, Point, Rule

pytestmark = pytest.mark.alone

ALL = 40.0
"""Seconds for all to be right again: the longest pause between attempts is 30, a request may take 10."""

SILENCE = 90.0
"""Seconds of silence after which a watch is given up: the API server lets hear from it once a minute."""

EVENTS = Point.EVENT

_FAILED = "Watch failed, retrying resource=endpointslices"
_OVER = "Watch recovered resource=endpointslices"

LISTS = "endpointslices|grpcbackendpools"
"""What tells of a new pod: slices to operator and lookaside, pools to the gateway."""

WHILE = {
    "stall": [Rule(Action.STALL)],
    "cut": [Rule(Action.CUT)],
    "500": [Rule(Action.REFUSE, status=500)],
    "503": [Rule(Action.REFUSE, status=503)],
    "429": [Rule(Action.REFUSE, status=429, retry_after=2)],
    "401": [Rule(Action.REFUSE, status=401)],
    "403": [Rule(Action.REFUSE, status=403)],
    "410": [Rule(Action.REFUSE, status=410, watch=True)],
    "no writes": [Rule(Action.REFUSE, method="PUT", path="/status$", agent="operator", status=500)],
    "short watches": [Rule(Action.CLOSE, watch=True, seconds=0.3)],
    "slow": [Rule(Action.DELAY, seconds=1), Rule(Action.DELAY, EVENTS, path=LISTS, seconds=1)],
}
"""Faults that last while a pod is replaced."""

ONCE = {
    "410 within a watch": Rule(Action.REFUSE, EVENTS, path=LISTS, status=410, count=3),
    "500 within a watch": Rule(Action.REFUSE, EVENTS, path=LISTS, status=500, count=3),
    "half a line": Rule(Action.TRUNCATE, EVENTS, path=LISTS, count=3),
    "cut before an event": Rule(Action.CUT, EVENTS, path=LISTS, count=3),
}
"""Faults that take the place of the events that tell of the new pod: for each caller some, since a watch that goes on
from where it was meets its event again."""

REFUSED = {
    "endpointslices": ("EndpointsAvailable", ("Unknown", "EndpointsStale"), ("True", "EndpointsReady")),
    "services": ("Reconciling", ("True", "WatchRefused"), ("False", "Applied")),
}
"""What is said where a kind may not be seen: the condition, its status and reason then, and those after it."""


@pytest.fixture(scope="module")
def proxy(kubectl_with_operator: Kubectl) -> Iterator[FaultProxy]:
    """The proxy with all behind it, the operator too; all as it was at the end."""
    with (
        temporary_namespace(kubectl_with_operator, "faults-proxy") as namespace,
        all_through_proxy(kubectl_with_operator, namespace) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def monitored(proxy: FaultProxy, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """The pool behind the proxy, with calls on it all the time."""
    with monitoring(kubectl_with_operator, proxy.namespace, "app=lookaside") as monitored:
        monitored.converges(within=60)
        yield monitored


def test_some_that_last_in_turn(proxy: FaultProxy, monitored: MonitoredPool) -> None:
    """A pod is replaced while requests meet one fault after another: `make faults` has all, each by itself."""
    mark = monitored.mark()
    rules = [rule for fault in ("cut", "500", "403", "410") for rule in WHILE[fault]]
    with proxy.breaking(*(replace(rule, count=1) for rule in rules)):
        replace_one(monitored)
    monitored.recovers(mark, within=ALL)


def test_all_in_events_places(proxy: FaultProxy, monitored: MonitoredPool) -> None:
    """The events that tell of new pods are lost in one way after another, and all know of them all the same."""
    mark = monitored.mark()
    with proxy.breaking(*(replace(rule, count=1) for rule in ONCE.values()), cut=False) as all_met:
        replace_one(monitored)
        eventually("an event was lost in each way", lambda: _tell_something(monitored) and all_met(), every=0)
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("fault", WHILE)
def test_fault_that_lasts(proxy: FaultProxy, monitored: MonitoredPool, fault: str) -> None:
    """A pod is replaced while nothing gets through; after that all is right again, and no call failed."""
    mark = monitored.mark()
    with proxy.breaking(*WHILE[fault]):
        replace_one(monitored)
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ONCE)
def test_fault_in_an_events_place(proxy: FaultProxy, monitored: MonitoredPool, fault: str) -> None:
    """The events that tell of a new pod are lost, to each of the programs, and all know of it all the same."""
    mark = monitored.mark()
    with proxy.breaking(ONCE[fault], cut=False):
        replace_one(monitored)
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
def test_watches_fall_silent(proxy: FaultProxy, monitored: MonitoredPool) -> None:
    """Watches that stay open and carry nothing any more, not even bookmarks, are given up for dead and made anew."""
    mark = monitored.mark()
    # Not at once: the gateway's falls silent when the operators have something to write.
    for agent in ("lookaside|client", "operator"):
        with proxy.breaking(Rule(Action.STALL, EVENTS, path=LISTS, agent=agent), cut=False):
            replace_one(monitored)
    monitored.recovers(mark, within=SILENCE + ALL)


@pytest.mark.faults
@pytest.mark.parametrize("kind", REFUSED)
def test_refusal_that_lasts_is_told_by_the_pool(proxy: FaultProxy, monitored: MonitoredPool, kind: str) -> None:
    """What the operator may not see is told by condition and by event until it may see it again."""
    condition, refused, allowed = REFUSED[kind]
    mark = monitored.mark()
    with proxy.breaking(Rule(Action.REFUSE, status=403, path=f"{kind}$", agent="operator")):
        eventually("the condition", lambda: _says(monitored, condition, refused))
        told = pools.condition(pools.read(monitored.kubectl, monitored.namespace), condition)["message"]
        assert "403" in told
        replace_one(monitored)
    eventually("the condition is over", lambda: _says(monitored, condition, allowed), timeout=ALL)
    eventually("events of both", lambda: _told(monitored, mark.time) >= {refused[1], allowed[1]})
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("status", [401, 403])
def test_refusal_is_seen_and_said_once(proxy: FaultProxy, monitored: MonitoredPool, status: int) -> None:
    """A refusal in mid-life is counted, said in one line for each kind, and ends nothing; no call fails."""
    restarts = operator_restarts(monitored.kubectl)
    _tell_something(monitored)
    eventually("what was refused before is over", lambda: _watches_slices(monitored), timeout=ALL)
    mark = monitored.mark()
    with proxy.breaking(Rule(Action.REFUSE, status=status)):
        time.sleep(6)
    monitored.recovers(mark, within=ALL)
    error = {401: "Unauthorized", 403: "Forbidden"}[status]
    lines = [line for log in operator_logs(monitored.kubectl, mark.time) for line in log]
    said = [line for line in lines if _FAILED in line and f'error="{status} {error}' in line]
    assert 1 <= len(said) <= 2, "once for each of the two operators\n" + "\n".join(said)
    assert any(
        count(text, f'error="{error}",resource="endpointslices"') for text in operator_metrics(monitored.kubectl)
    )
    assert operator_restarts(monitored.kubectl) == restarts


def _tell_something(monitored: MonitoredPool) -> bool:
    """Have an event on the pool and on its slices."""
    label = f"--overwrite=true faults={time.monotonic()}".split()
    for kind in ("gbp", "endpointslices"):
        monitored.kubectl("label", kind, "--all", *label, f"--namespace={monitored.namespace}")
    return True


def _watches_slices(monitored: MonitoredPool) -> bool:
    """Whether no operator has an outage at hand, in which a refusal of before would not be told once more."""
    for log in operator_logs(monitored.kubectl):
        told = [line for line in log if _FAILED in line or _OVER in line]
        assert not told or _OVER in told[-1], told[-1]
    return True


def _says(monitored: MonitoredPool, kind: str, wanted: tuple[str, str]) -> bool:
    """Whether a condition has this status and this reason."""
    condition = pools.condition(pools.read(monitored.kubectl, monitored.namespace), kind)
    assert (condition["status"], condition["reason"]) == wanted, condition
    return True


def _told(monitored: MonitoredPool, since: float) -> set[str]:
    """The reasons of the events since a unix time."""
    here = (f"--namespace={monitored.namespace}", "--field-selector=regarding.kind=GrpcBackendPool")
    events = monitored.kubectl.json("get", "events.v1.events.k8s.io", *here)["items"]
    return {e["reason"] for e in events if datetime.fromisoformat(e["eventTime"]).timestamp() > since}


def replace_one(monitored: MonitoredPool) -> bool:
    """Delete a pod, and wait until another is ready in its place; true, to go on from."""
    before = pools.ready_pods_by_name(monitored.kubectl, monitored.namespace)
    gone = min(before)
    monitored.kubectl("delete", "pod", gone, f"--namespace={monitored.namespace}", "--wait=false")

    def replaced() -> bool:
        now = pools.ready_pods_by_name(monitored.kubectl, monitored.namespace)
        return gone not in now and len(now) == len(before)

    return eventually("another pod is ready", replaced)


def operator_restarts(kubectl: Kubectl) -> dict[str, int]:
    """By the names of the pods."""
    pods = operators(kubectl)
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def operator_logs(kubectl: Kubectl, since: float = 0.0) -> list[list[str]]:
    """What each operator has logged since a unix time; all that it has, by default."""
    which = (f"--namespace={deploy.OPERATOR_NAMESPACE}", f"--since={int(time.time() - since) + 1}s")
    return [kubectl("logs", name, *which).stdout.splitlines() for name in operator_restarts(kubectl)]


def operator_metrics(kubectl: Kubectl) -> list[str]:
    base = f"/api/v1/namespaces/{deploy.OPERATOR_NAMESPACE}/pods"
    return [kubectl("get", f"--raw={base}/{name}:9090/proxy/metrics").stdout for name in operator_restarts(kubectl)]


def count(text: str, labels: str) -> float:
    """The value of the watch failures with these labels, 0 where there are none."""
    lines = [line for line in text.splitlines() if line.startswith(f"backendpool_watch_failures_total{{{labels}}}")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0

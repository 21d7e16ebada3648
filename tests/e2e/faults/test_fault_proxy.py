"""Faults of the connection to the API server, for all components that use it, while pods are replaced.

Operators, lookaside and gateway reach the API server through the fault proxy (support/faults/fault_proxy.py). Each
component gets each fault. Each test ends with the same check: status, lookaside and gateways converge to the pods, and
no call in pool mode has failed.
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
"""Seconds until all views converge after a fault: the backoff is at most 30 s, and a request takes at most 10 s."""

SILENCE = 90.0
"""Seconds without an event after which a watch is restarted; the API server sends a bookmark every minute."""

EVENTS = Point.EVENT

_FAILED = "Watch failed, retrying resource=endpointslices"
_OVER = "Watch recovered resource=endpointslices"

LISTS = "endpointslices|grpcbackendpools"
"""Paths of the watches that report a new pod: slices to operator and lookaside, pools to the gateway."""

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
"""Faults that last until a pod has been replaced."""

ONCE = {
    "410 within a watch": Rule(Action.REFUSE, EVENTS, path=LISTS, status=410, count=3),
    "500 within a watch": Rule(Action.REFUSE, EVENTS, path=LISTS, status=500, count=3),
    "half a line": Rule(Action.TRUNCATE, EVENTS, path=LISTS, count=3),
    "cut before an event": Rule(Action.CUT, EVENTS, path=LISTS, count=3),
}
"""Faults that replace the events of a new pod. Each replaces several events per caller, since a watch that resumes
receives its event again."""

REFUSED = {
    "endpointslices": ("EndpointsAvailable", ("Unknown", "EndpointsStale"), ("True", "EndpointsReady")),
    "services": ("Reconciling", ("True", "WatchRefused"), ("False", "Applied")),
}
"""By resource: the condition, and its status and reason while the operator may not read it, and afterwards."""


@pytest.fixture(scope="module")
def proxy(kubectl_with_operator: Kubectl) -> Iterator[FaultProxy]:
    """The fault proxy, which operator, lookaside and gateway use until the fixture restores them."""
    with (
        temporary_namespace(kubectl_with_operator, "faults-proxy") as namespace,
        all_through_proxy(kubectl_with_operator, namespace) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def monitored(proxy: FaultProxy, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """The pool whose components use the proxy, under continuous load."""
    with monitoring(kubectl_with_operator, proxy.namespace, "app=lookaside") as monitored:
        monitored.converges(within=60)
        yield monitored


def test_some_that_last_in_turn(proxy: FaultProxy, monitored: MonitoredPool) -> None:
    """A pod is replaced while requests get several faults in sequence. `make faults` tests each fault separately."""
    mark = monitored.mark()
    rules = [rule for fault in ("cut", "500", "403", "410") for rule in WHILE[fault]]
    with proxy.breaking(*(replace(rule, count=1) for rule in rules)):
        replace_one(monitored)
    monitored.recovers(mark, within=ALL)


def test_all_in_events_places(proxy: FaultProxy, monitored: MonitoredPool) -> None:
    """All views converge although the events of new pods are lost, once in each way."""
    mark = monitored.mark()
    with proxy.breaking(*(replace(rule, count=1) for rule in ONCE.values()), cut=False) as all_met:
        replace_one(monitored)
        eventually("a lost event of each kind", lambda: _tell_something(monitored) and all_met(), every=0)
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("fault", WHILE)
def test_fault_that_lasts(proxy: FaultProxy, monitored: MonitoredPool, fault: str) -> None:
    """A pod is replaced during a fault; after the fault, all views converge, and no call has failed."""
    mark = monitored.mark()
    with proxy.breaking(*WHILE[fault]):
        replace_one(monitored)
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ONCE)
def test_fault_in_an_events_place(proxy: FaultProxy, monitored: MonitoredPool, fault: str) -> None:
    """All views converge although each program loses the events of a new pod."""
    mark = monitored.mark()
    with proxy.breaking(ONCE[fault], cut=False):
        replace_one(monitored)
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
def test_watches_fall_silent(proxy: FaultProxy, monitored: MonitoredPool) -> None:
    """Watches that stay open without any event, not even bookmarks, time out and are restarted."""
    mark = monitored.mark()
    # One after the other: the gateway gets its event only after the operator has written the status.
    for agent in ("lookaside|client", "operator"):
        with proxy.breaking(Rule(Action.STALL, EVENTS, path=LISTS, agent=agent), cut=False):
            replace_one(monitored)
    monitored.recovers(mark, within=SILENCE + ALL)


@pytest.mark.faults
@pytest.mark.parametrize("kind", REFUSED)
def test_refusal_that_lasts_is_told_by_the_pool(proxy: FaultProxy, monitored: MonitoredPool, kind: str) -> None:
    """While the operator lacks permission to read a resource, a condition and an event say so."""
    condition, refused, allowed = REFUSED[kind]
    mark = monitored.mark()
    with proxy.breaking(Rule(Action.REFUSE, status=403, path=f"{kind}$", agent="operator")):
        eventually("the condition of the fault", lambda: _says(monitored, condition, refused))
        told = pools.condition(pools.read(monitored.kubectl, monitored.namespace), condition)["message"]
        assert "403" in told
        replace_one(monitored)
    eventually("the condition without the fault", lambda: _says(monitored, condition, allowed), timeout=ALL)
    eventually("an event of each reason", lambda: _told(monitored, mark.time) >= {refused[1], allowed[1]})
    monitored.recovers(mark, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("status", [401, 403])
def test_refusal_is_seen_and_said_once(proxy: FaultProxy, monitored: MonitoredPool, status: int) -> None:
    """A persistent 401 or 403 is counted and logged once per resource; no program exits, and no call fails."""
    restarts = operator_restarts(monitored.kubectl)
    _tell_something(monitored)
    eventually("no earlier watch failure", lambda: _watches_slices(monitored), timeout=ALL)
    mark = monitored.mark()
    with proxy.breaking(Rule(Action.REFUSE, status=status)):
        time.sleep(6)
    monitored.recovers(mark, within=ALL)
    error = {401: "Unauthorized", 403: "Forbidden"}[status]
    lines = [line for log in operator_logs(monitored.kubectl, mark.time) for line in log]
    said = [line for line in lines if _FAILED in line and f'error="{status} {error}' in line]
    assert 1 <= len(said) <= 2, "expected one line from each of the two operators\n" + "\n".join(said)
    assert any(
        count(text, f'error="{error}",resource="endpointslices"') for text in operator_metrics(monitored.kubectl)
    )
    assert operator_restarts(monitored.kubectl) == restarts


def _tell_something(monitored: MonitoredPool) -> bool:
    """Cause an event of the pool and of its slices."""
    label = f"--overwrite=true faults={time.monotonic()}".split()
    for kind in ("gbp", "endpointslices"):
        monitored.kubectl("label", kind, "--all", *label, f"--namespace={monitored.namespace}")
    return True


def _watches_slices(monitored: MonitoredPool) -> bool:
    """Whether all watches of slices have recovered. Otherwise, a new failure would not be logged again."""
    for log in operator_logs(monitored.kubectl):
        told = [line for line in log if _FAILED in line or _OVER in line]
        assert not told or _OVER in told[-1], told[-1]
    return True


def _says(monitored: MonitoredPool, kind: str, wanted: tuple[str, str]) -> bool:
    """Check that a condition has the status and the reason in ``wanted``."""
    condition = pools.condition(pools.read(monitored.kubectl, monitored.namespace), kind)
    assert (condition["status"], condition["reason"]) == wanted, condition
    return True


def _told(monitored: MonitoredPool, since: float) -> set[str]:
    """Return the reasons of the events since a Unix time."""
    here = (f"--namespace={monitored.namespace}", "--field-selector=regarding.kind=GrpcBackendPool")
    events = monitored.kubectl.json("get", "events.v1.events.k8s.io", *here)["items"]
    return {e["reason"] for e in events if datetime.fromisoformat(e["eventTime"]).timestamp() > since}


def replace_one(monitored: MonitoredPool) -> bool:
    """Delete a pod and wait until its replacement is ready; return True."""
    before = pools.ready_pods_by_name(monitored.kubectl, monitored.namespace)
    gone = min(before)
    monitored.kubectl("delete", "pod", gone, f"--namespace={monitored.namespace}", "--wait=false")

    def replaced() -> bool:
        now = pools.ready_pods_by_name(monitored.kubectl, monitored.namespace)
        return gone not in now and len(now) == len(before)

    return eventually("a ready replacement pod", replaced)


def operator_restarts(kubectl: Kubectl) -> dict[str, int]:
    """Return the restarts of each operator pod by its name."""
    pods = operators(kubectl)
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def operator_logs(kubectl: Kubectl, since: float = 0.0) -> list[list[str]]:
    """Return the log lines of each operator since a Unix time; all lines by default."""
    which = (f"--namespace={deploy.OPERATOR_NAMESPACE}", f"--since={int(time.time() - since) + 1}s")
    return [kubectl("logs", name, *which).stdout.splitlines() for name in operator_restarts(kubectl)]


def operator_metrics(kubectl: Kubectl) -> list[str]:
    base = f"/api/v1/namespaces/{deploy.OPERATOR_NAMESPACE}/pods"
    return [kubectl("get", f"--raw={base}/{name}:9090/proxy/metrics").stdout for name in operator_restarts(kubectl)]


def count(text: str, labels: str) -> float:
    """Return the number of watch failures with these labels; 0 if there are none."""
    lines = [line for line in text.splitlines() if line.startswith(f"backendpool_watch_failures_total{{{labels}}}")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0

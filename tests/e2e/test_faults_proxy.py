"""The way to the API server broken in each way that it breaks, for all that depend on it, while pods are replaced.

Operator, lookaside and gateway see the API server through the fault proxy (faults/between.py). Each fault ends with
the same check: status, lookaside and gateway are what the pods are, soon, and no call failed that had a backend.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from . import deploy, pools, traffic
from .faults.between import FaultProxy, all_behind, own_namespace
from .faults.converged import Watched
from .faults.rules import Action, Point, Rule
from .kubectl import Kubectl, eventually

pytestmark = pytest.mark.alone

ALL = 40.0
"""Seconds for all to be right again: the longest pause between attempts is 30, a request may take 10."""

SILENCE = 90.0
"""Seconds of silence after which a watch is given up: the API server lets hear from it once a minute."""

EVENTS = Point.EVENT

WHILE = {
    "stall": [Rule(Action.STALL)],
    "cut": [Rule(Action.CUT)],
    "500": [Rule(Action.REFUSE, status=500)],
    "503": [Rule(Action.REFUSE, status=503)],
    "429": [Rule(Action.REFUSE, status=429, retry_after=2)],
    "401": [Rule(Action.REFUSE, status=401)],
    "403": [Rule(Action.REFUSE, status=403)],
    "410": [Rule(Action.REFUSE, status=410, watch=True)],
    "no writes": [Rule(Action.REFUSE, method="PUT", path="/status$", status=500)],
    "short watches": [Rule(Action.CLOSE, watch=True, seconds=0.3)],
    "slow": [Rule(Action.DELAY, seconds=1), Rule(Action.DELAY, EVENTS, seconds=1)],
}
"""Faults that last while a pod is replaced."""

ONCE = {
    "410 within a watch": Rule(Action.REFUSE, EVENTS, status=410, count=5),
    "500 within a watch": Rule(Action.REFUSE, EVENTS, status=500, count=5),
    "half a line": Rule(Action.TRUNCATE, EVENTS, count=5),
    "cut before an event": Rule(Action.CUT, EVENTS, count=5),
}
"""Faults that take the place of the events that tell of the new pod."""


@pytest.fixture(scope="module")
def proxy(operator: Kubectl) -> Iterator[FaultProxy]:
    """The proxy with all behind it, the operator too; all as it was at the end."""
    with own_namespace(operator, "faults-proxy") as namespace, all_behind(operator, namespace) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def watched(proxy: FaultProxy, operator: Kubectl) -> Iterator[Watched]:
    """The pool behind the proxy, with calls on it all the time."""
    with traffic.load(operator, proxy.namespace, rate=40, seconds=900, interval=0.5) as load:
        watched = Watched(operator, proxy.namespace, load)
        watched.converges(within=60)
        yield watched


def test_all_that_lasts_in_turn(proxy: FaultProxy, watched: Watched) -> None:
    """A pod is replaced while requests meet one fault after another: all that `make faults` makes each by itself."""
    begun = time.time()
    with proxy.breaking(*(replace(rule, count=8) for rules in WHILE.values() for rule in rules)):
        replace_one(watched)
    watched.ends_well(begun, within=ALL)


def test_all_in_events_places(proxy: FaultProxy, watched: Watched) -> None:
    """The events that tell of a new pod are lost in one way after another, and all know of it all the same."""
    begun = time.time()
    with proxy.breaking(*(replace(rule, count=2) for rule in ONCE.values()), cut=False):
        replace_one(watched)
    watched.ends_well(begun, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("fault", WHILE)
def test_fault_that_lasts(proxy: FaultProxy, watched: Watched, fault: str) -> None:
    """A pod is replaced while nothing gets through; after that all is right again, and no call failed."""
    begun = time.time()
    with proxy.breaking(*WHILE[fault]):
        replace_one(watched)
    watched.ends_well(begun, within=ALL)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ONCE)
def test_fault_in_an_events_place(proxy: FaultProxy, watched: Watched, fault: str) -> None:
    """The events that tell of a new pod are lost, and all know of it all the same."""
    begun = time.time()
    with proxy.breaking(ONCE[fault], cut=False):
        replace_one(watched)
    watched.ends_well(begun, within=ALL)


@pytest.mark.faults
def test_watches_fall_silent(proxy: FaultProxy, watched: Watched) -> None:
    """Watches that stay open and carry nothing any more, not even bookmarks, are given up for dead and made anew."""
    begun = time.time()
    with proxy.breaking(Rule(Action.STALL, EVENTS), cut=False):
        replace_one(watched)
    watched.ends_well(begun, within=SILENCE + ALL)


@pytest.mark.faults
@pytest.mark.parametrize("status", [401, 403])
def test_refusal_is_seen_and_said_once(proxy: FaultProxy, watched: Watched, status: int) -> None:
    """A refusal in mid-life is counted, said in one line for each kind, and ends nothing."""
    restarts = operator_restarts(watched.kubectl)
    begun = time.time()
    with proxy.breaking(Rule(Action.REFUSE, status=status)):
        time.sleep(6)
    watched.converges(within=ALL)
    said = [line for line in operator_log(watched.kubectl, begun) if "endpointslices cannot be watched" in line]
    assert 1 <= len(said) <= 2, "once for each of the two operators\n" + "\n".join(said)
    assert str(status) in said[0]
    error = {401: "Unauthorized", 403: "Forbidden"}[status]
    assert any(count(text, f'error="{error}",resource="endpointslices"') for text in operator_metrics(watched.kubectl))
    assert operator_restarts(watched.kubectl) == restarts


def replace_one(watched: Watched) -> None:
    """Delete a pod, and wait until another is ready in its place."""
    before = pools.ready_pods_by_name(watched.kubectl, watched.namespace)
    gone = min(before)
    watched.kubectl("delete", "pod", gone, f"--namespace={watched.namespace}", "--wait=false")

    def replaced() -> bool:
        now = pools.ready_pods_by_name(watched.kubectl, watched.namespace)
        return gone not in now and len(now) == len(before)

    eventually("another pod is ready", replaced)


def operator_pods(kubectl: Kubectl) -> list[dict[str, object]]:
    here, selector = f"--namespace={deploy.OPERATOR_NAMESPACE}", "--selector=app.kubernetes.io/component=operator"
    return list(kubectl.json("get", "pods", here, selector)["items"])


def operator_restarts(kubectl: Kubectl) -> dict[str, int]:
    """By the names of the pods."""
    found = {}
    for pod in operator_pods(kubectl):
        meta, status = pod["metadata"], pod["status"]
        assert isinstance(meta, dict)
        assert isinstance(status, dict)
        found[meta["name"]] = status["containerStatuses"][0]["restartCount"]
    return found


def operator_log(kubectl: Kubectl, since: float) -> list[str]:
    seconds = f"--since={int(time.time() - since) + 1}s"
    # By a selector, kubectl shows ten lines of each unless it is asked for all.
    which = ("--selector=app.kubernetes.io/component=operator", "--tail=-1")
    return kubectl("logs", *which, f"--namespace={deploy.OPERATOR_NAMESPACE}", seconds).stdout.splitlines()


def operator_metrics(kubectl: Kubectl) -> list[str]:
    base = f"/api/v1/namespaces/{deploy.OPERATOR_NAMESPACE}/pods"
    return [kubectl("get", f"--raw={base}/{name}:9090/proxy/metrics").stdout for name in operator_restarts(kubectl)]


def count(text: str, labels: str) -> float:
    """The value of the watch failures with these labels, 0 where there are none."""
    lines = [line for line in text.splitlines() if line.startswith(f"backendpool_watch_failures_total{{{labels}}}")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0

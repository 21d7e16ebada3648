"""The check at the end of every fault test: all views of a pool converge to its ready pods, and no call has failed.

The views are the status, the endpoints of each lookaside, and the pods that answer calls through two gateways, one in
pool mode and one in lookaside mode. Both gateways are under continuous load, which detects failed calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from tests.e2e.support.faults.lookasides import Lookasides
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, traffic
from tools.demo.traffic import Load

_RATE = 40
"""Calls per second in pool mode. In lookaside mode, the rate is half of it."""

_LOOKUP = "the call to the lookaside"
"""Start of the gateway's error for a failed Resolve."""

_UNHEARD = 3.0
"""Maximum seconds without a call to a listed pod, which gets several calls per second."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The start of a fault: Unix time, addresses of ready pods by name, and failed Resolves by lookaside."""

    time: float
    pods: dict[str, str]
    refused: dict[str, int]


@dataclass(frozen=True, slots=True)
class MonitoredPool:
    """A pool under load: ``load`` through the gateway in pool mode, ``asking`` through that in lookaside mode."""

    kubectl: Kubectl
    namespace: str
    lookasides: Lookasides
    load: Load
    asking: Load

    def mark(self) -> Mark:
        """Return the current state, before a fault."""
        pods = pools.ready_pods_by_name(self.kubectl, self.namespace)
        refused = {name: lookaside.refused for name, lookaside in self.lookasides.read().items()}
        return Mark(time.time(), pods, refused)

    def converges(self, within: float, lost: str = "") -> None:
        """Wait ``within`` seconds until all views agree with the pods; ignore lookasides on the ``lost`` node."""
        begun = time.monotonic()
        last = ""

        def agreed() -> bool:
            nonlocal last
            try:
                return self._agreed(lost)
            except AssertionError as difference:
                if str(difference) != last:
                    last = str(difference)
                    print(f"  {time.monotonic() - begun:5.1f} s: {last}")
                raise

        eventually("status, lookasides and gateways that agree with the pods", agreed, timeout=within, every=0.5)
        print(f"converged after {time.monotonic() - begun:.1f} s")

    def recovers(self, mark: Mark, within: float) -> None:
        """Check convergence, and that no call has failed since the mark.

        In lookaside mode, the gateway does not retry calls, so its calls may fail if a pod has gone.
        """
        self.converges(within)
        assert not (errors := self.load.errors(mark.time)), errors
        self.lookasides_answered(mark)
        survivors = mark.pods.items() & pools.ready_pods_by_name(self.kubectl, self.namespace).items()
        if len(survivors) == len(mark.pods):
            assert not (errors := self.asking.errors(mark.time)), errors
        for pod, _ in survivors:
            self._answered_all_the_time(pod, mark.time)

    def lookasides_answered(self, mark: Mark, lost: str = "", after: float = 0.0) -> None:
        """Check that each lookaside has answered every Resolve since the mark and returns exactly the ready pods.

        Also check that the gateway saw no failed Resolve later than ``after`` seconds past the mark.
        """
        failed = sum(interval.errors.total() for interval in self.asking.intervals(mark.time))
        print(f"{failed} calls in lookaside mode failed within {time.time() - mark.time:.0f} s")
        assert not (errors := self.asking.errors(mark.time + after, of=_LOOKUP)), errors
        found = self.lookasides.read(lost)
        refused = {name: found[name].refused - before for name, before in mark.refused.items() if name in found}
        assert not any(refused.values()), f"failed Resolves by lookaside: {refused}"
        addresses = pools.ready_pods(self.kubectl, self.namespace)
        for host, given in self.lookasides.resolved(lookaside.address for lookaside in found.values()).items():
            assert given == addresses, f"the lookaside at {host} returns {given}, but the ready pods are {addresses}"

    def _answered_all_the_time(self, pod: str, since: float) -> None:
        """Check that a pod that existed all the time got calls all the time in lookaside mode."""
        intervals = self.asking.intervals(since)
        times = [since, *(i.time for i in intervals if pod in i.pods), intervals[-1].time]
        silence = max(after - before for before, after in pairwise(times))
        assert silence < _UNHEARD, f"{pod} got no call in lookaside mode for {silence:.1f} s"

    def _agreed(self, lost: str) -> bool:
        pods = pools.ready_pods_by_name(self.kubectl, self.namespace)
        wanted = self.kubectl.json("get", "deployment/greetserver", f"--namespace={self.namespace}")["spec"]["replicas"]
        assert lost or len(pods) == wanted, f"{len(pods)} of {wanted} pods are ready"
        # Check the EndpointSlices first, to distinguish delays of Kubernetes from delays of the operator.
        assert self._sliced() == set(pods.values()), "the EndpointSlices do not match the pods"
        status = pools.read(self.kubectl, self.namespace)["status"]
        assert pools.ready_addresses({"status": status}) == set(pods.values()), "the status does not match the pods"
        for name, lookaside in self.lookasides.read(lost).items():
            assert lookaside.ready == len(pods), f"{name} has {lookaside.ready} of {len(pods)} ready endpoints"
            assert lookaside.revision == status["revision"], f"{name} and the status have different revisions"
        for way, load in {"pool": self.load, "lookaside": self.asking}.items():
            intervals = load.intervals(time.time() - 10)
            assert intervals, f"no call in {way} mode for ten seconds"
            latest = intervals[-1]
            assert set(latest.pods) == set(pods), f"in {way} mode, only {latest.pods} of {sorted(pods)} answered"
            assert not latest.errors, f"calls in {way} mode fail: {latest.errors}"
            # Such calls wait for a pod that has gone. They may still fail, after the check of errors.
            assert not latest.waiting, f"{latest.waiting} calls in {way} mode wait for an answer"
        return True

    def _sliced(self) -> set[str]:
        """Return the ready addresses in the EndpointSlices."""
        which = (f"--namespace={self.namespace}", "--selector=kubernetes.io/service-name=greetserver")
        slices = self.kubectl.json("get", "endpointslices", *which)["items"]
        endpoints = [endpoint for found in slices for endpoint in found.get("endpoints") or ()]
        return {e["addresses"][0] for e in endpoints if e["conditions"].get("ready")}


@contextmanager
def monitoring(kubectl: Kubectl, namespace: str, lookasides: str) -> Iterator[MonitoredPool]:
    """Put load on both gateways within the context; ``lookasides`` is the label selector of the lookaside pods."""
    asked = "http://asking-gateway:9091/greet"
    with (
        traffic.load(kubectl, namespace, rate=_RATE, interval=0.5) as load,
        traffic.load(kubectl, namespace, url=asked, rate=_RATE / 2, interval=0.5) as asking,
    ):
        yield MonitoredPool(kubectl, namespace, Lookasides(kubectl, namespace, lookasides), load, asking)

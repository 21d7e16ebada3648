"""The check at the end of every fault test: all views of a pool converge to its pods, and no call was lost.

The views are the status, the list of each lookaside, and the pods that answer calls through two gateways, one in pool
mode and one in lookaside mode. Each gateway is under load all the time, which shows failed calls.
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
"""Calls a second by the pool; by the lookaside it is half of that."""

_LOOKUP = "the call to the lookaside"
"""How the gateway begins to tell of a Resolve that failed."""

_UNHEARD = 3.0
"""Seconds in which each pod that is listed is called many times over."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment to count from: its unix time, addresses of the ready pods by name, Resolves refused by lookaside."""

    time: float
    pods: dict[str, str]
    refused: dict[str, int]


@dataclass(frozen=True, slots=True)
class MonitoredPool:
    """A pool in ``namespace`` with its ``lookasides``; ``load`` comes by the pool, ``asking`` by the lookaside."""

    kubectl: Kubectl
    namespace: str
    lookasides: Lookasides
    load: Load
    asking: Load

    def mark(self) -> Mark:
        """The present."""
        pods = pools.ready_pods_by_name(self.kubectl, self.namespace)
        refused = {name: lookaside.refused for name, lookaside in self.lookasides.read().items()}
        return Mark(time.time(), pods, refused)

    def converges(self, within: float, lost: str = "") -> None:
        """Wait until all is as it is, ``within`` seconds; what is on a node that is ``lost`` is not asked."""
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

        eventually("status, lookasides and gateways are what the pods are", agreed, timeout=within, every=0.5)
        print(f"right after {time.monotonic() - begun:.1f} s")

    def recovers(self, mark: Mark, within: float) -> None:
        """All is as it is ``within`` seconds from now, and since the mark nobody was refused who had a backend.

        By the lookaside nobody tries a call again: where a pod went, calls to it may have failed, and no others.
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
        """Each lookaside has given an address to all who asked it since the mark, and gives those of the pods now.

        From ``after`` so many seconds on, nobody had to wait for an answer in vain.
        """
        failed = sum(interval.errors.total() for interval in self.asking.intervals(mark.time))
        print(f"by the lookaside {failed} calls failed in {time.time() - mark.time:.0f} s")
        assert not (errors := self.asking.errors(mark.time + after, of=_LOOKUP)), errors
        found = self.lookasides.read(lost)
        refused = {name: found[name].refused - before for name, before in mark.refused.items() if name in found}
        assert not any(refused.values()), f"Resolves were refused: {refused}"
        addresses = pools.ready_pods(self.kubectl, self.namespace)
        for host, given in self.lookasides.resolved(lookaside.address for lookaside in found.values()).items():
            assert given == addresses, f"the lookaside at {host} gives {given}, and ready are {addresses}"

    def _answered_all_the_time(self, pod: str, since: float) -> None:
        """A pod that was there all the time has answered calls by the lookaside all the time."""
        intervals = self.asking.intervals(since)
        times = [since, *(i.time for i in intervals if pod in i.pods), intervals[-1].time]
        silence = max(after - before for before, after in pairwise(times))
        assert silence < _UNHEARD, f"{pod} was not called for {silence:.1f} s by the lookaside"

    def _agreed(self, lost: str) -> bool:
        pods = pools.ready_pods_by_name(self.kubectl, self.namespace)
        wanted = self.kubectl.json("get", "deployment/greetserver", f"--namespace={self.namespace}")["spec"]["replicas"]
        assert lost or len(pods) == wanted, f"{len(pods)} of {wanted} pods are ready"
        # Told apart: what the cluster itself is late with, and what the operator is.
        assert self._sliced() == set(pods.values()), "the EndpointSlices are not what the pods are"
        status = pools.read(self.kubectl, self.namespace)["status"]
        assert pools.ready_addresses({"status": status}) == set(pods.values()), "the status is not what the pods are"
        for name, lookaside in self.lookasides.read(lost).items():
            assert lookaside.ready == len(pods), f"{name} has {lookaside.ready} ready endpoints of {len(pods)}"
            assert lookaside.revision == status["revision"], f"the list of {name} is not the status's"
        for way, load in {"pool": self.load, "lookaside": self.asking}.items():
            intervals = load.intervals(time.time() - 10)
            assert intervals, "no call was made for ten seconds"
            latest = intervals[-1]
            assert set(latest.pods) == set(pods), f"by the {way}, of {sorted(pods)} answered {latest.pods}"
            assert not latest.errors, f"calls by the {way} fail: {latest.errors}"
            # For a pod that went, or they would not: they may fail yet, when something else is looked at.
            assert not latest.waiting, f"{latest.waiting} calls by the {way} wait"
        return True

    def _sliced(self) -> set[str]:
        """The addresses that the cluster lists as ready."""
        which = (f"--namespace={self.namespace}", "--selector=kubernetes.io/service-name=greetserver")
        slices = self.kubectl.json("get", "endpointslices", *which)["items"]
        endpoints = [endpoint for found in slices for endpoint in found.get("endpoints") or ()]
        return {e["addresses"][0] for e in endpoints if e["conditions"].get("ready")}


@contextmanager
def monitoring(kubectl: Kubectl, namespace: str, lookasides: str) -> Iterator[MonitoredPool]:
    """Calls by both gateways for as long as the body lasts; ``lookasides`` selects those of the pool."""
    asked = "http://asking-gateway:9091/greet"
    with (
        traffic.load(kubectl, namespace, rate=_RATE, interval=0.5) as load,
        traffic.load(kubectl, namespace, url=asked, rate=_RATE / 2, interval=0.5) as asking,
    ):
        yield MonitoredPool(kubectl, namespace, Lookasides(kubectl, namespace, lookasides), load, asking)

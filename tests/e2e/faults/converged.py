"""The check that every fault ends with: what is said and used is what is there, soon, and nothing was lost meanwhile.

Three views of one pool are held against the pods themselves: the status that the operator wrote, the list of the
lookaside, and who answers the calls through the gateway. A load all the while shows the calls that failed.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from .. import pools
from ..kubectl import Kubectl, eventually
from ..traffic import Load

REVISION = re.compile(r'^backendpool_endpoints_revision_info\{revision="(\w+)"\}', re.MULTILINE)
READY = re.compile(r'^backendpool_endpoints\{state="Ready"\} (\d+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Watched:
    """A pool in ``namespace`` with ``load`` on its gateway; ``lookaside`` names the Service of its metrics."""

    kubectl: Kubectl
    namespace: str
    load: Load
    lookaside: str = "lookaside"

    def converges(self, within: float) -> float:
        """Wait until all is as it is, ``within`` seconds; returns the seconds that it took."""
        begun = time.monotonic()
        last = ""

        def agreed() -> bool:
            nonlocal last
            try:
                return self._agreed()
            except AssertionError as difference:
                if str(difference) != last:
                    last = str(difference)
                    print(f"  {time.monotonic() - begun:5.1f} s: {last}")
                raise

        eventually("status, lookaside and gateway are what the pods are", agreed, timeout=within, every=0.5)
        return time.monotonic() - begun

    def ends_well(self, begun: float, within: float) -> None:
        """All is as it is ``within`` seconds from now, and no call has failed since a unix time."""
        print(f"right again after {self.converges(within):.1f} s")
        self.shows_no_error(begun)

    def shows_no_error(self, since: float) -> None:
        """No call has failed since a unix time; else, when which did."""
        failed = [(round(i.time - since, 1), i.errors) for i in self.load.intervals(since) if i.errors]
        assert not failed, "\n".join(f"{at} s: {errors}" for at, errors in failed)

    def _agreed(self) -> bool:
        pods = pools.ready_pods_by_name(self.kubectl, self.namespace)
        status = pools.read(self.kubectl, self.namespace)["status"]
        assert pools.ready_addresses({"status": status}) == set(pods.values()), "the status is not what the pods are"
        ready, revision = self._lookaside_says()
        assert ready == len(pods), f"the lookaside has {ready} ready endpoints, and there are {len(pods)}"
        assert revision == status["revision"], "the lookaside's list is not the status's"
        intervals = self.load.intervals(time.time() - 10)
        assert intervals, "no call was made for ten seconds"
        answering = intervals[-1]
        assert set(answering.pods) == set(pods), f"of {sorted(pods)} answered {answering.pods}"
        assert not answering.errors, f"calls fail: {answering.errors}"
        return True

    def _lookaside_says(self) -> tuple[int, str]:
        url = f"/api/v1/namespaces/{self.namespace}/services/{self.lookaside}:9090/proxy/metrics"
        text = self.kubectl("get", f"--raw={url}").stdout
        ready, revision = READY.search(text), REVISION.search(text)
        assert ready, f"the lookaside knows nothing: {text[:200]}"
        assert revision, f"the lookaside names no revision: {text[:200]}"
        return int(ready[1]), revision[1]

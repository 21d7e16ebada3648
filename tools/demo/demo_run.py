"""The steps of the demo. Every figure is measured live."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, stages, traffic
from tools.demo.new_pods import HEAD, LISTED_PODS, READY_PODS, NewPod
from tools.demo.screen import Screen
from tools.demo.traffic import Summary
from tools.demo.watch import first_seen

SERVER = "greetserver"
CALLS = 300


class DemoRun:
    """Runs the stages of the example on a cluster and shows them on a screen."""

    def __init__(self, cluster: Cluster, screen: Screen) -> None:
        self._cluster = cluster
        self._kubectl: Kubectl = deploy.kubectl_of(cluster)
        self._screen = screen

    def run(self) -> None:
        """Run all stages; the screen counts unexpected results."""
        self._screen.heading("The operator")
        self._screen.step(deploy.shown("operator"))
        deploy.operator(self._cluster)
        self._sticky()
        self._headless()
        self._lookaside()
        self._pool()
        self._xds()
        self._next()

    def _sticky(self) -> None:
        namespace = self._stage("1-sticky", "Stage 1, sticky: a ClusterIP, and gRPC's one connection")
        self._calls(namespace, 1, "One pod answers every call: Kubernetes balances connections, not calls.")

    def _headless(self) -> None:
        namespace = self._stage("2-headless", "Stage 2, headless: DNS round_robin over a headless Service")
        self._calls(namespace, 3, "Balanced over the pods that DNS returned when the gateway connected.")
        self._scale(namespace, 6)
        self._calls(namespace, 3, "Three new pods get no calls: gRPC asks DNS again only when a connection breaks.")
        self._start_scaling(namespace, 3)

    def _lookaside(self) -> None:
        namespace = self._stage("3-lookaside", "Stage 3, lookaside: the gateway asks for an address before each call")
        self._calls(namespace, 3, "Balanced, and new pods get calls; but each call costs a second one.")

    def _pool(self) -> None:
        namespace = self._stage("4-pool", "Stage 4, pool: the gateway watches a GrpcBackendPool")
        get = ("get", "grpcbackendpools", f"--namespace={namespace}")
        self._screen.step(f"kubectl {' '.join(get)}")
        self._screen.answer(self._kubectl(*get).stdout)
        self._calls(namespace, 3, "Balanced, without an extra call.")
        self._grow(namespace)
        self._scale(namespace, 3)
        self._restart(namespace)

    def _xds(self) -> None:
        namespace = self._stage("5-xds", "Stage 5, xds: gRPC's own xDS client follows the pool's lookaside")
        self._calls(
            namespace, 3, "Balanced by gRPC's own client, in any language: a bootstrap file and a target are enough."
        )
        self._scale(namespace, 6)
        eventually("all six pods answer", lambda: traffic.answering(self._kubectl, namespace) == 6)
        self._calls(namespace, 6, "Three new pods, and all of them get calls.")
        self._start_scaling(namespace, 3)

    def _grow(self, namespace: str) -> None:
        """Scale up under load, and show when each new pod was ready, listed and first called."""
        scaled, new_pods, summary = self._scaled_under_load(namespace)
        self._draw(namespace, summary)
        self._screen.table(HEAD, [pod.row(scaled) for pod in new_pods])
        delays = [pod.delay for pod in new_pods if pod.delay is not None]
        self._screen.result(
            len(delays) == 3 and not summary.failed,
            f"Each new pod answered within {max(delays, default=0.0):.2f} s of being ready, and no call failed.",
            f"{len(delays)} of 3 new pods answered, and {summary.failed} calls failed.",
        )

    def _scaled_under_load(self, namespace: str) -> tuple[float, list[NewPod], Summary]:
        """Scale to six under load; returns the unix time of the scaling, the new pods, and the result of the load."""
        here = f"--namespace={namespace}"
        before = pools.ready_pods_by_name(self._kubectl, namespace)
        with (
            self._load(namespace, rate=50) as load,
            first_seen(self._kubectl, READY_PODS, "pods", f"--selector=run={SERVER}", here) as ready,
            first_seen(self._kubectl, LISTED_PODS, "gbp", SERVER, here) as listed,
        ):
            scaled = time.time()
            self._scale(namespace, 6)
            pools.wait_for_count(self._kubectl, namespace, 6)
            new = sorted(pools.ready_pods_by_name(self._kubectl, namespace).keys() - before.keys())
            eventually("the new pods are listed", lambda: all(f"{pod}=True" in ready and pod in listed for pod in new))
            time.sleep(2)  # calls for the pod that was listed last
            summary = load.stop()
        answered = summary.first_answer
        return scaled, [NewPod(pod, ready[f"{pod}=True"], listed[pod], answered.get(pod)) for pod in new], summary

    def _restart(self, namespace: str) -> None:
        """Restart all servers under load, until the last old pod is gone."""
        restart = ("rollout", "restart", f"deployment/{SERVER}", f"--namespace={namespace}")
        with self._load(namespace, rate=200) as load:
            self._screen.step(f"kubectl {' '.join(restart)}")
            self._kubectl(*restart)
            self._kubectl.rollout(namespace, f"deployment/{SERVER}")
            pools.wait_for_pods(self._kubectl, namespace, 3)
            summary = load.stop()
        self._draw(namespace, summary)
        count = f"{summary.failed} of {summary.ok + summary.failed} calls failed"
        message = f"{count}, from before the first new pod started until the last old pod was gone."
        self._screen.result(not summary.failed, message, f"{count}; expected none.")

    def _next(self) -> None:
        kubectl = " ".join(self._cluster.kubectl_command)
        named = "" if self._cluster.engine else f"CLUSTER=context:{self._cluster.context} "
        self._screen.heading("What to try next")
        self._screen.answer(
            f"alias k='{kubectl}'\n"
            "k get gbp -A -o wide\n"
            "k describe gbp greetserver -n greet-pool\n"
            "k get gbp greetserver -n greet-pool -w &  k scale deployment/greetserver -n greet-pool --replicas=5\n"
            "k port-forward -n greet-pool service/greet-gateway 9091 &\n"
            "curl -H 'Content-Type: application/json' localhost:9091/greet "
            """-d '{"first_name": "Ada", "last_name": "Lovelace"}'\n"""
            f"{named}make demo-down",
        )

    def _stage(self, name: str, title: str) -> str:
        self._screen.heading(title)
        self._screen.step(deploy.shown(f"greet/{name}"))
        return stages.deploy_ready(self._cluster, name)

    def _scale(self, namespace: str, count: int) -> None:
        """Scale and wait until ``count`` pods are ready and no other is left."""
        self._start_scaling(namespace, count)
        pools.wait_for_pods(self._kubectl, namespace, count)

    def _start_scaling(self, namespace: str, count: int) -> None:
        self._screen.step(f"kubectl scale deployment/{SERVER} --replicas={count} --namespace={namespace}")
        pools.scale(self._kubectl, namespace, count)

    def _calls(self, namespace: str, answering: int, message: str) -> None:
        """Send calls one after another; show ``message`` if ``answering`` pods answered all of them."""
        summary = traffic.calls(self._kubectl, namespace, CALLS)
        self._draw(namespace, summary)
        holds = len(summary.pods) == answering and not summary.failed
        self._screen.result(holds, message, f"expected {answering} pods to answer all calls.")

    def _draw(self, namespace: str, summary: Summary) -> None:
        """Draw a bar per pod, including ready pods that answered no call."""
        idle = dict.fromkeys(pools.ready_pods_by_name(self._kubectl, namespace), 0)
        self._screen.bars(idle | summary.pods, summary.errors)

    def _load(self, namespace: str, rate: int) -> AbstractContextManager[traffic.Load]:
        """Start a load that runs until it is stopped."""
        self._screen.step(f"{rate} calls a second from here on")
        return traffic.load(self._kubectl, namespace, rate=rate)

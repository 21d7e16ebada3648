"""The demo: a cluster comes up, and the four stages are shown one after another, from stuck to balanced.

make demo          all of it
make demo-down     remove what it brought up
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from . import deploy, pools, traffic
from .cluster import Cluster, ClusterError, ensure, load_images
from .kubectl import Kubectl, KubectlError
from .traffic import Summary

SERVER = "greetserver"
BAR = 30
CALLS = 300


class Demo:
    """Tells the story on a terminal; every figure that it shows was measured just then."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self._cluster = cluster
        self._kubectl: Kubectl = deploy.kubectl_of(cluster)
        self._console = console

    def run(self) -> None:
        self._step("Installing the operator: kubectl apply -k manifests/operator")
        deploy.operator(self._cluster)
        self._sticky()
        self._headless()
        self._lookaside()
        self._pool()
        self._next()

    def _sticky(self) -> None:
        namespace = self._stage("1-sticky", "Stage 1, sticky: a ClusterIP, and gRPC's one connection")
        self._calls(namespace, 1, "One pod answers every call: the connection was balanced, the calls are not.")

    def _headless(self) -> None:
        namespace = self._stage("2-headless", "Stage 2, headless: DNS round_robin over a headless Service")
        self._calls(namespace, 3, "Balanced, over the pods that DNS named when the gateway connected.")
        self._scale(namespace, 6)
        self._calls(namespace, 3, "Three pods more, and none of them answers: DNS is asked when a connection breaks.")
        self._scale(namespace, 3)

    def _lookaside(self) -> None:
        namespace = self._stage("3-lookaside", "Stage 3, lookaside: an address is asked for before each call")
        pools.wait_ready(self._kubectl, namespace)
        self._calls(namespace, 3, "Balanced, and new pods are seen; each call costs a second one.")

    def _pool(self) -> None:
        namespace = self._stage("4-pool", "Stage 4, pool: the gateway watches a GrpcBackendPool")
        pools.wait_ready(self._kubectl, namespace)
        self._show("get", "grpcbackendpools", f"--namespace={namespace}")
        self._calls(namespace, 3, "Balanced, with no call but the greeting itself.")
        self._grow(namespace)
        self._scale(namespace, 3)
        self._restart(namespace)

    def _grow(self, namespace: str) -> None:
        """Scale up under load, and tell when each new pod was first used."""
        self._step("Scaling from 3 to 6 at 50 calls a second")
        before = set(pods_ready_at(self._kubectl, namespace))
        with traffic.load(self._kubectl, namespace, rate=50, seconds=15) as load:
            scaled = time.time()
            pools.scale(self._kubectl, namespace, 6)
            self._kubectl.rollout(namespace, f"deployment/{SERVER}")
            summary = load.summary()
        self._draw(summary)
        table = Table("new pod", "ready after", "first answer after")
        for pod, ready in sorted(pods_ready_at(self._kubectl, namespace).items()):
            if pod not in before:
                answered = summary.first_answer.get(pod)
                # Kubernetes notes readiness in whole seconds, cut off.
                table.add_row(pod, f"{ready - scaled:.0f} to {ready + 1 - scaled:.0f} s", _seconds(answered, scaled))
        self._console.print(table)

    def _restart(self, namespace: str) -> None:
        self._step("Rolling restart of all servers at 100 calls a second")
        with traffic.load(self._kubectl, namespace, rate=100, seconds=30) as load:
            self._kubectl("rollout", "restart", f"deployment/{SERVER}", f"--namespace={namespace}")
            self._kubectl.rollout(namespace, f"deployment/{SERVER}")
            summary = load.summary()
        self._draw(summary)
        colour = "red" if summary.failed else "green"
        self._console.print(f"  [{colour}]{summary.failed} of {summary.ok + summary.failed} calls failed[/]\n")

    def _next(self) -> None:
        kubectl = " ".join(self._cluster.kubectl_command)
        self._console.print(
            Panel(
                f"alias k='{kubectl}'\n"
                "k get gbp -A -o wide\n"
                "k describe gbp greetserver -n greet-pool\n"
                "k get gbp greetserver -n greet-pool -w &  k scale deployment/greetserver -n greet-pool --replicas=5\n"
                "k port-forward -n greet-pool service/greet-gateway 9091 &\n"
                "curl -H 'Content-Type: application/json' localhost:9091/greet "
                """-d '{"first_name": "Ada", "last_name": "Lovelace"}'\n"""
                "make demo-down",
                title="What to try next",
                expand=False,
            )
        )

    def _stage(self, name: str, text: str) -> str:
        self._console.rule(f"[bold]{text}")
        self._step(f"kubectl apply -k manifests/greet/{name}")
        return deploy.stage(self._cluster, name)

    def _scale(self, namespace: str, count: int) -> None:
        self._step(f"kubectl scale deployment/{SERVER} --replicas={count}")
        pools.scale(self._kubectl, namespace, count)
        self._kubectl.rollout(namespace, f"deployment/{SERVER}")

    def _calls(self, namespace: str, answering: int, moral: str) -> None:
        """Send calls and draw them; ``moral`` is told only where as many pods answered as it says."""
        summary = traffic.calls(self._kubectl, namespace, CALLS)
        self._draw(summary, idle=pods_ready_at(self._kubectl, namespace))
        if len(summary.pods) != answering or summary.failed:
            moral = f"[red]Not as it should be: {answering} pods should have answered all calls.[/]"
        self._console.print(f"  [bold]{moral}[/]\n")

    def _draw(self, summary: Summary, idle: Iterable[str] = ()) -> None:
        """A bar for each pod, those that answered nothing as well."""
        counts = dict.fromkeys(idle, 0) | summary.pods
        most = max(counts.values(), default=1) or 1
        for pod, count in sorted(counts.items()):
            bar = "█" * round(BAR * count / most)
            self._console.print(f"  {pod:<30} [cyan]{bar:<{BAR}}[/] {count:>5}")
        for error, count in summary.errors.items():
            self._console.print(f"  [red]{count} failed: {error}[/]")

    def _step(self, text: str) -> None:
        self._console.print(f"[dim]→ {text}[/]")

    def _show(self, *args: str) -> None:
        self._step(f"kubectl {' '.join(args)}")
        self._console.print(self._kubectl(*args).stdout, highlight=False)


def pods_ready_at(kubectl: Kubectl, namespace: str) -> dict[str, float]:
    """The servers that are ready, and since when (unix time)."""
    items = kubectl.json("get", "pods", f"--namespace={namespace}", "--selector=run=greetserver")["items"]
    return {
        pod["metadata"]["name"]: datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
        for pod in items
        if "deletionTimestamp" not in pod["metadata"]
        for condition in pod["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def _seconds(moment: float | None, since: float) -> str:
    return "never" if moment is None else f"{moment - since:.1f} s"


def main() -> int:
    argparse.ArgumentParser(prog="make demo", description=__doc__).parse_args()
    console = Console()
    begun = time.monotonic()
    try:
        console.rule("[bold]A cluster")
        cluster = ensure()
        load_images(cluster)
        Demo(cluster, console).run()
    except ClusterError as error:
        console.print(f"[red]{error.report()}[/]", highlight=False)
        return 1
    except (KubectlError, AssertionError) as error:
        console.print(f"[red]the demo stopped:[/] {error}", highlight=False)
        return 1
    console.print(f"[dim]{time.monotonic() - begun:.0f} s in all[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())

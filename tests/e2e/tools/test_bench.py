"""The benchmarks with minimal parameters: counts are asserted, durations are not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from bench.lookaside.go_programs import built
from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl

SMALLEST = ("bench.operator", "--pools=2,4", "--endpoints=5", "--changes=4", "--flap-seconds=1", "--large-pool=1100")

_PATIENCE = 1200.0
"""Seconds after which a run hangs, however busy the machine is."""

# The deployed operator is away while it runs, for minutes.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="what the programs cost is read from /proc, which is Linux's"),
]


@pytest.fixture
def left_as_it_was(kubectl_with_operator: Kubectl) -> Iterator[None]:
    """Whatever comes of the benchmark, nothing of it stays in the cluster."""
    before = _found(kubectl_with_operator)
    yield
    assert _found(kubectl_with_operator) == before


def _found(kubectl: Kubectl) -> tuple[set[str], str]:
    """The namespaces, and how many replicas of the operator are available."""
    available = "--output=jsonpath={.status.availableReplicas}"
    operator = kubectl("get", "deployment/backendpool-operator", f"--namespace={deploy.OPERATOR_NAMESPACE}", available)
    return {
        name for name in kubectl("get", "namespaces", "--output=name").stdout.split() if "bench" in name
    }, operator.stdout


@pytest.fixture
def go_programs() -> None:
    """The Go programs are built before the run is timed: a cold build takes minutes on a busy machine."""
    built()


def bench(*arguments: str) -> subprocess.Popen[str]:
    """A run in a process group of its own, as a shell at a terminal starts it."""
    return subprocess.Popen(
        # Where we were started in the background, the shell has us and all that we start ignore Ctrl-C.
        ["env", "--default-signal=INT", sys.executable, "-m", *arguments],
        cwd=deploy.REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def rows(report: str) -> dict[str, list[str]]:
    """The cells of the table's rows by their name."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in report.splitlines() if "|" in line]
    return {name: cells for name, *cells in lines}


@pytest.mark.usefixtures("left_as_it_was")
def test_benchmark_counts_what_it_should() -> None:
    """Each number of pools has its figures; a change is written once, a restart writes nothing, a flood is bounded."""
    with bench(*SMALLEST) as run:
        report, progress = run.communicate(timeout=_PATIENCE)
    assert run.returncode == 0, progress
    table = rows(report)
    assert table["pools of 5 endpoints"] == ["2", "4", "4 : 2"]
    assert all(len(cells) == 3 for cells in table.values())
    assert table["status writes"][:2] == ["1.00", "1.00"]
    assert table["status writes for each pool"][:2] == ["1.00", "1.00"]
    first, restart = requests(report, "first start"), requests(report, "restart")
    assert restart.keys() == {"get", "list", "watch"}
    assert first.keys() == restart.keys() | {"create", "update"}
    assert first["get"] == restart["get"], "no pool is read, nor what it is made of"
    assert first["update"] == 4
    (changes, writes) = map(int, found(r"flapping: (\d+) changes in \S+ s made (\d+) status writes", report))
    assert changes == 20
    assert 1 <= writes <= 8
    assert "the status lists 1000 of 1100, truncated: True" in report
    assert "lookaside: 1100 ready, 1100 addresses in 1100 answers" in report


@pytest.mark.skipif(shutil.which("go") is None, reason="its clients and its baseline are programs in Go")
@pytest.mark.usefixtures("left_as_it_was", "go_programs")
def test_lookaside_is_measured_beside_the_baseline() -> None:
    """Each change reaches each stream of both, all are told again after they were cut off, and Resolve answers."""
    with bench("bench.lookaside", "--streams=1,5", "--endpoints=20", "--changes=3", "--seconds=1") as run:
        report, progress = run.communicate(timeout=_PATIENCE)
    assert run.returncode == 0, progress
    table = rows(report)
    assert table["20 endpoints, streams"] == ["1", "go-control-plane", "ratio", "5", "go-control-plane", "ratio"]
    assert len(table) == 9
    (answers,) = found(r"Resolve: ([\d,]+) answers a second", report)
    assert answers != "0"


def found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    assert match, text
    return match.groups()


def requests(report: str, what: str) -> dict[str, int]:
    """The requests of the largest number of pools, by verb."""
    (counts,) = found(rf"requests of the {what} with 4 pools: (.*)", report)
    return {verb: int(count) for count, verb in (part.split() for part in counts.split(", "))}


@pytest.mark.usefixtures("left_as_it_was")
def test_interrupted_benchmark_cleans_up() -> None:
    """Ctrl-C ends it with 130 and without a traceback, with an operator of its own at work."""
    with bench(*SMALLEST) as run:
        watchdog = threading.Timer(_PATIENCE, run.kill)
        watchdog.start()
        assert run.stderr
        seen = next((line for line in run.stderr if line.startswith("2 pools: restart")), None)
        assert seen, "it ended before"
        os.killpg(run.pid, signal.SIGINT)
        report, rest = run.communicate()
        watchdog.cancel()
    assert run.returncode == 130
    assert "|" not in report
    assert "Traceback" not in rest

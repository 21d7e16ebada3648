"""The benchmarks with minimal parameters. The tests check counts, not durations."""

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
"""Seconds after which a run counts as hung, even on a busy machine."""

# The benchmark scales the deployed operator to zero for minutes.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads CPU and memory from /proc"),
]


@pytest.fixture
def left_as_it_was(kubectl_with_operator: Kubectl) -> Iterator[None]:
    """Check that the benchmark leaves the cluster as before, even if it fails."""
    before = _found(kubectl_with_operator)
    yield
    assert _found(kubectl_with_operator) == before


def _found(kubectl: Kubectl) -> tuple[set[str], str]:
    """Return the benchmark's namespaces, and the number of available replicas of the operator."""
    available = "--output=jsonpath={.status.availableReplicas}"
    operator = kubectl("get", "deployment/backendpool-operator", f"--namespace={deploy.OPERATOR_NAMESPACE}", available)
    return {
        name for name in kubectl("get", "namespaces", "--output=name").stdout.split() if "bench" in name
    }, operator.stdout


@pytest.fixture
def go_programs() -> None:
    """Build the Go programs before the timeout of the run starts: a cold build takes minutes on a busy machine."""
    built()


def bench(*arguments: str) -> subprocess.Popen[str]:
    """Start a benchmark in its own process group, as an interactive shell does."""
    return subprocess.Popen(
        # If the tests run in the background, the shell ignores SIGINT for them and their children; reset that.
        ["env", "--default-signal=INT", sys.executable, "-m", *arguments],
        cwd=deploy.REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def rows(report: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table, by the row's first cell."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in report.splitlines() if "|" in line]
    return {name: cells for name, *cells in lines}


@pytest.mark.usefixtures("left_as_it_was")
def test_benchmark_counts_what_it_should() -> None:
    """Each change is written once, a restart writes nothing, and a flapping pool causes only a few writes."""
    with bench(*SMALLEST) as run:
        report, progress = run.communicate(timeout=_PATIENCE)
    assert run.returncode == 0, progress
    table = rows(report)
    assert table["pools of 5 endpoints"] == ["2", "4", "4 : 2"]
    assert all(len(cells) == 3 for cells in table.values())
    assert table["status writes"][:2] == ["1.00", "1.00"]
    assert table["status writes per pool"][:2] == ["1.00", "1.00"]
    first, restart = requests(report, "first start"), requests(report, "restart")
    assert restart.keys() == {"get", "list", "watch"}
    assert first.keys() == restart.keys() | {"create", "update"}
    assert first["get"] == restart["get"], "expected no GET of pools or children, which informers list"
    assert first["update"] == 4
    (changes, writes) = map(int, found(r"flapping: (\d+) changes in \S+ s made (\d+) status writes", report))
    assert changes == 20
    assert 1 <= writes <= 8
    assert "the status lists 1000 of 1100, truncated: True" in report
    assert "lookaside: 1100 ready, 1100 addresses in 1100 answers" in report


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go, in which its clients and its baseline are written")
@pytest.mark.usefixtures("left_as_it_was", "go_programs")
def test_lookaside_is_measured_beside_the_baseline() -> None:
    """The lookaside and go-control-plane are measured with each number of streams, and Resolve answers."""
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
    """Return the number of requests by verb, in the run with most pools."""
    (counts,) = found(rf"requests of the {what} with 4 pools: (.*)", report)
    return {verb: int(count) for count, verb in (part.split() for part in counts.split(", "))}


@pytest.mark.usefixtures("left_as_it_was")
def test_interrupted_benchmark_cleans_up() -> None:
    """Ctrl-C ends a benchmark with exit code 130 and without a traceback, and its cleanup runs."""
    with bench(*SMALLEST) as run:
        watchdog = threading.Timer(_PATIENCE, run.kill)
        watchdog.start()
        assert run.stderr
        seen = next((line for line in run.stderr if line.startswith("2 pools: restart")), None)
        assert seen, "the benchmark ended before the restart"
        os.killpg(run.pid, signal.SIGINT)
        report, rest = run.communicate()
        watchdog.cancel()
    assert run.returncode == 130
    assert "|" not in report
    assert "Traceback" not in rest

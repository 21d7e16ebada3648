"""How the demo ends, and what it leaves."""

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.cluster import Cluster, ClusterError, deploy
from tools.cluster.kubectl import Kubectl, KubectlError, eventually
from tools.demo import __main__ as demo
from tools.demo.new_pods import NewPod
from tools.demo.screen import Screen
from tools.demo.watch import first_seen


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A user's cluster whose kubectl records its calls; the file `left` lists pools."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        "#!/bin/sh\n"
        f'cd {tmp_path}; echo "$3 $4 $5" >> calls\n'
        'case "$3 $4" in "get crd"*) echo crd;; "get grpcbackendpools") cat left;; esac\n'
    )
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "left").touch()
    return Cluster("mine", "mine", tmp_path / "kubeconfig", str(kubectl))


@pytest.fixture(autouse=True)
def restored_signal() -> Iterator[None]:
    """Restore SIGTERM, which the demo handles like an interrupt."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ClusterError("no engine", hint="install one"), 1, "install one"),
        (KubectlError("kubectl apply exited with status 1:\n[forbidden]"), 1, "[forbidden]"),
        (subprocess.TimeoutExpired(["kubectl"], 120), 1, "120 seconds"),
        (OSError("No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_ends_the_demo_early_is_told_in_a_sentence(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An early end prints one sentence without a traceback and has an exit code other than 0."""

    @contextmanager
    def fail(purpose: str) -> Iterator[Cluster]:
        raise error
        yield

    monkeypatch.setattr(demo, "using", fail)
    assert demo.main([]) == code
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (2, 1)])
def test_a_stage_that_is_not_as_it_should_be_is_a_failure(
    failures: int, code: int, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected result leads to an exit code other than 0."""

    @contextmanager
    def found(purpose: str) -> Iterator[Cluster]:
        yield cluster

    class DemoRun:
        def __init__(self, _: Cluster, screen: Screen) -> None:
            screen.failures = failures

        def run(self) -> None: ...

    monkeypatch.setattr(demo, "using", found)
    monkeypatch.setattr(demo, "DemoRun", DemoRun)
    assert demo.main([]) == code


def test_what_the_demo_installed_is_removed(cluster: Cluster, tmp_path: Path) -> None:
    """The stages are removed before the operator."""
    assert deploy.remove(cluster) == ""
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "delete namespace greet-sticky"
    assert calls[-1].startswith("delete --filename=-")


def test_an_operator_that_still_has_pools_stays(cluster: Cluster, tmp_path: Path) -> None:
    """If other pools exist, the operator and the CRD stay, and the output names those pools."""
    (tmp_path / "left").write_text("shop   cart   True\n")
    assert "cart" in deploy.remove(cluster)
    assert "--filename=-" not in (tmp_path / "calls").read_text()


def test_words_are_noted_when_they_are_first_seen(tmp_path: Path) -> None:
    """Each word has the time of its first line; a watch that ends is restarted."""
    again = tmp_path / "again"
    program = f"""
import pathlib, time
again = pathlib.Path({str(again)!r})
print("a=True b=True" if again.exists() else "a=False", flush=True)
again.exists() and time.sleep(60)
again.touch()
"""
    with first_seen(Kubectl((sys.executable, "-c", program)), "{}", "pods") as seen:
        eventually("all are seen", lambda: len(seen) == 3)
    assert list(seen) == ["a=False", "a=True", "b=True"]
    assert seen["a=False"] < seen["a=True"]


def test_the_times_of_a_new_pod_are_told_from_one_moment_on() -> None:
    """Times are relative to one moment, except the delay from ready to the first answer."""
    assert NewPod("x", 102.0, 102.25, 102.5).row(100.0) == ("x", "2.00 s", "2.25 s", "2.50 s", "0.50 s")
    assert NewPod("x", 102.0, 102.25, None).row(100.0) == ("x", "2.00 s", "2.25 s", "never", "never")

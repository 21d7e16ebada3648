"""The lock of the cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cluster.errors import ClusterError
from tools.cluster.lock import hold


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "lock"


def test_a_second_run_is_told_who_is_at_work(lock: Path) -> None:
    """A second run fails with process, purpose and checkout of the run that changes the cluster, and a hint to wait."""
    with hold(lock, "up"), pytest.raises(ClusterError) as refused, hold(lock, "down"):
        pass
    assert f"pid {os.getpid()}, up, from {Path.cwd()}" in refused.value.message
    assert "wait" in refused.value.hint


def test_many_use_the_cluster_beside_each_other(lock: Path) -> None:
    """Several runs can share the cluster; none of them is alone."""
    with hold(lock, "tests") as first:
        assert first.alone
        first.share()
        with hold(lock, "benchmark") as second, hold(lock, "demo") as third:
            assert [held.alone for held in (first, second, third)] == [False, False, False]


def test_a_cluster_in_use_is_not_changed(lock: Path) -> None:
    """A change of a cluster in use fails and names every user."""
    with hold(lock, "tests") as first:
        first.share()
        with hold(lock, "benchmark"), hold(lock, "down") as third, pytest.raises(ClusterError) as refused:
            third.require_alone("delete it")
    assert "this run cannot delete it" in refused.value.message
    assert "tests" in refused.value.message
    assert "benchmark" in refused.value.message


def test_one_alone_may_change_it(lock: Path) -> None:
    """A run that is alone may change the cluster, until it shares it."""
    with hold(lock, "up") as alone:
        alone.require_alone("make it")
        alone.share()
        with pytest.raises(ClusterError):
            alone.require_alone("make it")


def test_the_lock_is_free_again_after_a_run(lock: Path) -> None:
    """A finished run releases the lock, even after a failure."""
    with pytest.raises(RuntimeError), hold(lock, "up"):
        raise RuntimeError
    with hold(lock, "down") as free:
        assert free.alone


@pytest.mark.parametrize("shared", [False, True])
def test_a_killed_holder_leaves_no_lock(lock: Path, shared: bool) -> None:
    """A killed run releases the lock, and its note is ignored."""
    code = f"""
import os, pathlib
from tools.cluster.lock import hold
with hold(pathlib.Path({str(lock)!r}), "killed") as held:
    {shared} and held.share()
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with hold(lock, "up") as free:
        free.require_alone("make it")
        with pytest.raises(ClusterError) as refused, hold(lock, "down"):
            pass
    assert "killed" not in refused.value.message

"""Access to the kernel: mounts and the cgroup freezer."""

import sys
from pathlib import Path

import pytest

from tools.cluster.host import mounts, thaw


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are listed of Linux only: no engine of ours runs elsewhere")
def test_the_root_is_mounted() -> None:
    """The list of mounts contains /."""
    assert "/" in mounts()


def test_frozen_pods_of_a_container_are_thawed(tmp_path: Path) -> None:
    """Only frozen cgroups below this container are thawed."""
    states = {
        "docker/one/kubelet/pod": "FROZEN\n",
        "docker/one/kubelet": "THAWED\n",
        "docker/other/kubelet/pod": "FROZEN\n",
    }
    for folder, state in states.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "freezer.state").write_text(state)
    assert thaw("one", tmp_path)
    assert (tmp_path / "docker/one/kubelet/pod/freezer.state").read_text() == "THAWED"
    assert (tmp_path / "docker/one/kubelet/freezer.state").read_text() == "THAWED\n"
    assert (tmp_path / "docker/other/kubelet/pod/freezer.state").read_text() == "FROZEN\n"


def test_nothing_frozen_is_said(tmp_path: Path) -> None:
    """If nothing is frozen, the result says so."""
    assert not thaw("one", tmp_path)

"""Two runs never work on one cluster at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.lock import only_run


def test_a_second_run_is_told_who_is_at_work(tmp_path: Path) -> None:
    """The message names the holder's process and purpose, and says to wait."""
    lock = tmp_path / "lock"
    with only_run(lock, "up"), pytest.raises(ClusterError) as refused, only_run(lock, "down"):
        pass
    assert f"pid {os.getpid()}, up" in refused.value.message
    assert "wait" in refused.value.hint


def test_the_lock_is_free_again_after_a_run(tmp_path: Path) -> None:
    """A run that ended does not keep the next one out, even if it failed."""
    with pytest.raises(RuntimeError), only_run(tmp_path / "lock", "up"):
        raise RuntimeError
    with only_run(tmp_path / "lock", "down"):
        assert (tmp_path / "lock").read_text().endswith("down")


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """A process that dies while it holds the lock releases it, though its note stays in the file."""
    code = f"""
import os, pathlib
from tests.e2e.cluster.lock import only_run
with only_run(pathlib.Path({str(tmp_path / "lock")!r}), "up"):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with only_run(tmp_path / "lock", "up"):
        assert f"pid {os.getpid()}" in (tmp_path / "lock").read_text()

"""Running other programs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.cluster.errors import ClusterError
from tools.cluster.kubectl import eventually
from tools.cluster.process import answer, beside, try_answer, work


def test_a_failed_question_says_what_the_program_said() -> None:
    """The error has the command and its output."""
    with pytest.raises(ClusterError, match="no such thing"):
        answer(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_a_program_that_is_not_there_is_named() -> None:
    """A missing program is named, with the caller's hint."""
    with pytest.raises(ClusterError, match="no-such-program is not installed") as missing:
        answer(["no-such-program"], hint="install it")
    assert missing.value.hint == "install it"


def test_a_question_has_a_time_limit() -> None:
    """A program that hangs fails after the timeout."""
    assert try_answer(["sleep", "60"], timeout=0.1) is None


def test_work_is_logged_line_by_line(tmp_path: Path) -> None:
    """The log has the command and its output, and the caller gets each line."""
    seen: list[str] = []
    work(["sh", "-c", "echo one; echo two >&2"], log=tmp_path / "logs" / "log", on_line=seen.append)
    assert seen == ["one", "two"]
    assert (tmp_path / "logs" / "log").read_text().endswith("one\ntwo\n")


def test_failed_work_names_its_log(tmp_path: Path) -> None:
    """The error of a long command names its log."""
    with pytest.raises(ClusterError) as failed:
        work(["sh", "-c", "echo reason; exit 1"], log=tmp_path / "log")
    assert "reason" in failed.value.report()


def test_when_one_job_fails_the_others_programs_are_ended(tmp_path: Path) -> None:
    """If one job fails, the programs of the others are ended."""

    log = tmp_path / "log"

    def fail() -> None:
        eventually("the sibling runs", lambda: log.exists() and "begun\n" in log.read_text())
        raise ClusterError("no")

    started = time.monotonic()
    with pytest.raises(ClusterError, match="no"):
        beside(fail, lambda: work(["sh", "-c", "echo begun; exec sleep 600"], log=log))
    assert time.monotonic() - started < 600


def test_a_daemon_outlives_a_failed_job(tmp_path: Path) -> None:
    """A program with its own session is not ended."""
    daemon = subprocess.Popen(["sleep", "60"], start_new_session=True)

    def fail() -> None:
        raise ClusterError("no")

    try:
        with pytest.raises(ClusterError):
            beside(fail)
        assert daemon.poll() is None
    finally:
        daemon.kill()
        daemon.wait()


def test_the_environment_is_added_to() -> None:
    """Extra variables are added to the environment."""
    code = "import os; print(os.environ['GIVEN'], 'PATH' in os.environ)"
    assert answer([sys.executable, "-c", code], env={"GIVEN": "yes"}) == "yes True\n"
    assert "GIVEN" not in os.environ

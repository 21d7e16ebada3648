"""Terminal output."""

import io
from pathlib import Path

import pytest

from tools.cluster.console import Console, duration
from tools.cluster.errors import ClusterError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (450.0, "7 min 30 s")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """Durations use tenths if short, and minutes if long."""
    assert duration(seconds) == text


def test_a_step_ends_with_what_it_did_and_how_long_it_took() -> None:
    """A step prints one line with its result and duration."""
    console = Console(io.StringIO())
    with console.step("engine") as step:
        step.says("Docker 28")
    (line,) = console.stream.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.startswith("engine")
    assert "Docker 28" in line
    assert line.endswith("0.0 s")


def test_a_failed_step_names_itself() -> None:
    """A failed step prints its name, and the error is raised."""
    stream = io.StringIO()
    with pytest.raises(ClusterError), Console(stream).step("kubernetes"):
        raise ClusterError("no")
    assert stream.getvalue().startswith("kubernetes")
    assert "FAILED" in stream.getvalue()


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    """In a log, progress is printed only occasionally."""
    stream = io.StringIO()
    with Console(stream).step("kubernetes") as step:
        for done in range(1000):
            step.progress(f"{done} of 1000")
    assert len(stream.getvalue().splitlines()) == 2


def test_an_error_shows_the_end_of_its_log_and_the_way_on(tmp_path: Path) -> None:
    """An error shows message, end of the log, and hint."""
    log = tmp_path / "build.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    report = ClusterError("it failed", log=log, hint="run it again").report().splitlines()
    assert report[0] == "error: it failed"
    assert report[-2].strip() == "line 99"
    assert "line 50" not in "\n".join(report)
    assert report[-1] == "what to do: run it again"


def test_every_error_says_how_to_go_on() -> None:
    """An error without a hint gets a general one."""
    assert "run this again" in ClusterError("it failed").report()

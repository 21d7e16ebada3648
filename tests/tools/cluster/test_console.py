"""What the person at the terminal sees."""

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
    """Tenths where they matter, minutes where seconds do not."""
    assert duration(seconds) == text


def test_a_step_ends_with_what_it_did_and_how_long_it_took() -> None:
    """One line, the duration at its end."""
    console = Console(io.StringIO())
    with console.step("engine") as step:
        step.says("Docker 28")
    (line,) = console.stream.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.startswith("engine")
    assert "Docker 28" in line
    assert line.endswith("0.0 s")


def test_a_failed_step_names_itself() -> None:
    """The reader sees which step it was, and the error goes on to whoever can report it."""
    stream = io.StringIO()
    with pytest.raises(ClusterError), Console(stream).step("kubernetes"):
        raise ClusterError("no")
    assert stream.getvalue().startswith("kubernetes")
    assert "FAILED" in stream.getvalue()


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    """A log is not flooded by a line per package."""
    stream = io.StringIO()
    with Console(stream).step("kubernetes") as step:
        for done in range(1000):
            step.progress(f"{done} of 1000")
    assert len(stream.getvalue().splitlines()) == 2


def test_an_error_shows_the_end_of_its_log_and_the_way_on(tmp_path: Path) -> None:
    """The message first, the last lines of the log, then what to do."""
    log = tmp_path / "build.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    report = ClusterError("it failed", log=log, hint="run it again").report().splitlines()
    assert report[0] == "error: it failed"
    assert report[-2].strip() == "line 99"
    assert "line 50" not in "\n".join(report)
    assert report[-1] == "what to do: run it again"


def test_every_error_says_how_to_go_on() -> None:
    """Also one that nobody foresaw."""
    assert "run this again" in ClusterError("it failed").report()

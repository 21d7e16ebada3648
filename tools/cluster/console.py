"""Terminal output: one line per step, with its duration.

Long steps also print a line at their start and report progress: in place on a terminal, as occasional lines in a log.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

_TITLE_WIDTH = 12
_TEXT_WIDTH = 84
_PROGRESS_SECONDS = 20.0  # between two progress lines where they cannot overwrite each other


def duration(seconds: float) -> str:
    """Format seconds: `0.4 s`, `12 s`, `3 min 20 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def line(title: str, text: str, seconds: float | None = None) -> str:
    """Format a line: step, text, duration."""
    body = f"{title:<{_TITLE_WIDTH}} {text}"
    if seconds is None:
        return body
    return f"{body:<{_TITLE_WIDTH + _TEXT_WIDTH}} {duration(seconds):>12}"


@dataclass(slots=True)
class Step:
    """A running step; `says` sets the text of its line."""

    title: str
    console: "Console"
    started: float = field(default_factory=time.monotonic)
    text: str = "done"
    _shown: float = 0.0

    def says(self, text: str) -> None:
        """Set the text that the line has when the step succeeds."""
        self.text = text

    def progress(self, text: str) -> None:
        """Show the progress of the step."""
        now = time.monotonic()
        pause = 0.2 if self.console.interactive else _PROGRESS_SECONDS
        if now - self._shown >= pause:
            self._shown = now
            self.console.transient(line(self.title, text, now - self.started))


@dataclass(slots=True)
class Console:
    """Writes whole lines, so that lines of concurrent steps do not mix."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def interactive(self) -> bool:
        """Whether a line can overwrite the previous one."""
        return self.stream.isatty()

    def say(self, text: str) -> None:
        """Print a line."""
        clear = "\r\x1b[K" if self.interactive else ""
        with self._lock:
            self.stream.write(f"{clear}{text}\n")
            self.stream.flush()

    def transient(self, text: str) -> None:
        """Print a line that the next one replaces, if the stream supports it."""
        if not self.interactive:
            self.say(text)
            return
        with self._lock:
            self.stream.write(f"\r\x1b[K{text}")
            self.stream.flush()

    @contextmanager
    def step(self, title: str, starts: str | None = None) -> Iterator[Step]:
        """Run a step; `starts` is printed at the start of steps that take more than a few seconds."""
        if starts is not None:
            self.say(line(title, f"{starts} ..."))
        step = Step(title, self)
        try:
            yield step
        except BaseException:
            self.say(line(title, "FAILED", time.monotonic() - step.started))
            raise
        self.say(line(title, step.text, time.monotonic() - step.started))

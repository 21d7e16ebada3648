"""Errors of the cluster tooling, with what to do next."""

from pathlib import Path

_TAIL_LINES = 20
_GO_ON = "fix the problem above, then run this again: it resumes"


class ClusterError(Exception):
    """The cluster could not be brought to the requested state.

    `hint` says what to do; `log` names the file with the details, whose end is shown with the message.
    """

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    def report(self) -> str:
        """Return message, end of the log, and hint for the terminal."""
        parts = [f"error: {self.message}"]
        if self.log is not None and self.log.exists():
            parts.append(f"end of {self.log}:")
            parts += [f"    {text}" for text in tail(self.log)]
        parts.append(f"what to do: {self.hint or _GO_ON}")
        return "\n".join(parts)


def tail(path: Path, lines: int = _TAIL_LINES) -> list[str]:
    """Return the last `lines` lines of a text file."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]

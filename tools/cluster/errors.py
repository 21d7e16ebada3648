"""What can go wrong, said so that the reader knows what to do next."""

from pathlib import Path

_TAIL_LINES = 20
_GO_ON = "mend what is said above, then run this again: it goes on where it was"


class ClusterError(Exception):
    """The cluster could not be brought to the wanted state.

    `hint` says how to go on; `log` names the file that holds the whole story, whose end is shown with the message.
    """

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    def report(self) -> str:
        """The message, the end of the log and the way on, for the terminal."""
        parts = [f"error: {self.message}"]
        if self.log is not None and self.log.exists():
            parts.append(f"the end of {self.log}:")
            parts += [f"    {text}" for text in tail(self.log)]
        parts.append(f"what to do: {self.hint or _GO_ON}")
        return "\n".join(parts)


def tail(path: Path, lines: int = _TAIL_LINES) -> list[str]:
    """The last `lines` lines of a text file."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]

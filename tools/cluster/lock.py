"""Who is at work on the cluster: many may use it beside each other, one alone makes, replaces or deletes it.

The kernel releases a lock when its holder ends, however it ends, so that no stale lock can be left behind. The notes
beside the lock are for people: they tell the one that must wait for whom.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TextIO

from tools.cluster.errors import ClusterError
from tools.cluster.settings import REPOSITORY

_HINT = "wait for it to end, then run this again"


@dataclass(slots=True)
class Hold:
    """A run's hold on the cluster; `alone` when no other run has one, so that it may be changed."""

    _file: TextIO
    _others: list[str]
    alone: bool

    def require_alone(self, deed: str) -> None:
        """ClusterError, which names the others, unless this run is the only one; `deed` is what it is about to do."""
        if not self.alone:
            raise ClusterError(f"the cluster is in use, and this would {deed}: {_listed(self._others)}", hint=_HINT)

    def share(self) -> None:
        """Let others use the cluster as well; from here on nobody may change it, this run included."""
        if not _taken(self._file, fcntl.LOCK_SH):
            raise ClusterError("another run began to work on this cluster just now", hint=_HINT)
        self.alone = False


@contextmanager
def hold(path: Path, purpose: str) -> Iterator[Hold]:
    """Hold the lock `path` for `purpose`: alone where nobody else does, else beside those that use the cluster.

    ClusterError names the run that holds it alone.
    """
    notes = path.with_name(f"{path.name}-notes")
    notes.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        alone = _taken(file, fcntl.LOCK_EX)
        shared = not alone and _taken(file, fcntl.LOCK_SH)
        others = [] if alone else _holders(notes)
        if not alone and not shared:
            raise ClusterError(f"another run is at work on this cluster: {_listed(others)}", hint=_HINT)
        with NamedTemporaryFile("w", dir=notes, prefix=f"{os.getpid()}-") as note:
            note.write(f"pid {os.getpid()}, {purpose}, from {REPOSITORY}")
            note.flush()
            yield Hold(file, others, alone)


def _taken(file: TextIO, mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(notes: Path) -> list[str]:
    """What the holders that live wrote of themselves; the notes of those that were killed are removed."""
    found = []
    for note in sorted(notes.iterdir()):
        if _lives(int(note.name.partition("-")[0])):
            found.append(_text(note))
        else:
            note.unlink(missing_ok=True)
    return [text for text in found if text]


def _text(note: Path) -> str:
    try:
        return note.read_text(encoding="utf-8")
    except FileNotFoundError:  # it ended just now
        return ""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _listed(holders: list[str]) -> str:
    return "; ".join(holders) or "a process that just started"

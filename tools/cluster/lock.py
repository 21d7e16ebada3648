"""The lock of the cluster: many runs may use it together; one alone may create, replace or delete it.

The kernel releases a lock when its holder exits, however it exits, so no stale lock remains. The notes beside the lock
are for people: they name the holders.
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
    """A run's hold on the cluster; `alone` if no other run has one, so that it may be changed."""

    _file: TextIO
    _others: list[str]
    alone: bool

    def require_alone(self, deed: str) -> None:
        """Raise ClusterError, which names the others, unless this run is alone; `deed` is the planned change."""
        if not self.alone:
            raise ClusterError(f"the cluster is in use, so this run cannot {deed}: {_listed(self._others)}", hint=_HINT)

    def share(self) -> None:
        """Let others use the cluster too; from now on nobody may change it, including this run."""
        if not _taken(self._file, fcntl.LOCK_SH):
            raise ClusterError("another run has just started on this cluster", hint=_HINT)
        self.alone = False


@contextmanager
def hold(path: Path, purpose: str) -> Iterator[Hold]:
    """Hold the lock `path` for `purpose`: alone if nobody else does, else together with other users.

    Raises ClusterError with the name of a run that holds it alone.
    """
    notes = path.with_name(f"{path.name}-notes")
    notes.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        alone = _taken(file, fcntl.LOCK_EX)
        shared = not alone and _taken(file, fcntl.LOCK_SH)
        others = [] if alone else _holders(notes)
        if not alone and not shared:
            raise ClusterError(f"another run is using this cluster: {_listed(others)}", hint=_HINT)
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
    """Return the notes of running holders; deletes the notes of killed ones."""
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
    return "; ".join(holders) or "a process that has just started"

"""One run at a time: two that make or delete the same cluster at once would each undo the other's work.

The kernel releases the lock when its holder ends, however it ends, so that no stale lock can be left behind.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ClusterError


@contextmanager
def only_run(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock `path` for `purpose`; ClusterError names the holder when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            file.seek(0)
            raise ClusterError(
                f"another run is at work on this cluster: {file.read().strip() or 'a process that just started'}",
                hint="wait for it to end, then run this again",
            ) from held
        file.truncate(0)
        file.write(f"pid {os.getpid()}, {purpose}")
        file.flush()
        yield
        file.truncate(0)

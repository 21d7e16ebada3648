"""When something was first seen, to the fraction of a second: Kubernetes notes whole ones only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from ..kubectl import Kubectl

READY_PODS = '{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
"""Of a pod: its name and, after a `=`, whether it is ready."""
LISTED_PODS = '{range .status.endpoints[?(@.state=="Ready")]}{.podName}{" "}{end}{"\\n"}'
"""Of a pool: the names of the pods that it lists as ready."""

HEAD = ("new pod", "ready", "listed", "answered", "delay")


@dataclass(frozen=True, slots=True)
class Debut:
    """The unix times at which a new pod was ready, listed by its pool, and first answered a call, if it did."""

    pod: str
    ready: float
    listed: float
    answered: float | None

    @property
    def delay(self) -> float | None:
        """Seconds from being ready to the first answer."""
        return None if self.answered is None else self.answered - self.ready

    def row(self, since: float) -> tuple[str, ...]:
        """The cells below ``HEAD``, counted from a unix time; the delay from being ready."""
        answered = None if self.answered is None else self.answered - since
        return (self.pod, *map(_seconds, (self.ready - since, self.listed - since, answered, self.delay)))


def _seconds(duration: float | None) -> str:
    return "never" if duration is None else f"{duration:.2f} s"


@contextmanager
def watched(kubectl: Kubectl, jsonpath: str, *get: str) -> Iterator[dict[str, float]]:
    """The unix time at which each word first appeared in what ``kubectl get --watch`` prints, for the block's time."""
    watch = _Watch((*kubectl.command, "get", *get, "--watch", f"--output=jsonpath={jsonpath}"))
    follower = Thread(target=watch.follow)
    follower.start()
    try:
        yield watch.seen
    finally:
        watch.stop()
        follower.join()


@dataclass(slots=True)
class _Watch:
    """A program that is begun anew when it ends, as a watch does whenever the API server says so."""

    command: tuple[str, ...]
    seen: dict[str, float] = field(default_factory=dict)
    _stopped: Event = field(default_factory=Event)
    _running: subprocess.Popen[str] | None = None

    def follow(self) -> None:
        """Note the words until it is stopped."""
        while not self._stopped.is_set():
            with subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, process_group=0) as self._running:
                if self._stopped.is_set():  # between the last look and the start
                    self._running.terminate()
                assert self._running.stdout is not None
                for line in self._running.stdout:
                    for word in line.split():
                        self.seen.setdefault(word, time.time())
            self._stopped.wait(0.2)

    def stop(self) -> None:
        """End it, and have it not begin again."""
        self._stopped.set()
        if self._running is not None:
            self._running.terminate()

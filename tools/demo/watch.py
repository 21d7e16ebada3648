"""Precise times of changes to objects, taken from a watch, since Kubernetes records whole seconds only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from tools.cluster.kubectl import Kubectl


@contextmanager
def first_seen(kubectl: Kubectl, jsonpath: str, *get: str) -> Iterator[dict[str, float]]:
    """Run ``kubectl get --watch``; yields the unix time at which each word first appeared in its output."""
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
    """A watch that is restarted whenever the API server ends it."""

    command: tuple[str, ...]
    seen: dict[str, float] = field(default_factory=dict)
    _stopped: Event = field(default_factory=Event)
    _running: subprocess.Popen[str] | None = None

    def follow(self) -> None:
        """Record words until stopped."""
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
        """End the watch."""
        self._stopped.set()
        if self._running is not None:
            self._running.terminate()

"""The first moments of a new pod: ready, listed, called."""

from __future__ import annotations

from dataclasses import dataclass

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

"""Times of a new pod: ready, listed by its pool, first call answered."""

from __future__ import annotations

from dataclasses import dataclass

READY_PODS = '{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
"""jsonpath of a pod: its name, `=`, and the status of its condition Ready."""
LISTED_PODS = '{range .status.endpoints[?(@.state=="Ready")]}{.podName}{" "}{end}{"\\n"}'
"""jsonpath of a pool: the names of the pods that it lists as ready."""

HEAD = ("new pod", "ready", "listed", "answered", "delay")


@dataclass(frozen=True, slots=True)
class NewPod:
    """Unix times at which a new pod became ready, was listed by its pool, and answered its first call, if any."""

    pod: str
    ready: float
    listed: float
    answered: float | None

    @property
    def delay(self) -> float | None:
        """Seconds from ready to the first answer."""
        return None if self.answered is None else self.answered - self.ready

    def row(self, since: float) -> tuple[str, ...]:
        """The cells for ``HEAD``, in seconds since a unix time."""
        answered = None if self.answered is None else self.answered - since
        return (self.pod, *map(_seconds, (self.ready - since, self.listed - since, answered, self.delay)))


def _seconds(duration: float | None) -> str:
    return "never" if duration is None else f"{duration:.2f} s"

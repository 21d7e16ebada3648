"""Retries: the longest delay before each, and one log line per outage instead of one per failure."""

from __future__ import annotations

import asyncio
import logging

from backendpool.runtime.logs import FieldLogger


def max_backoff(failures: int, initial: float, longest: float) -> float:
    """Return the longest delay in seconds after ``failures`` failures in a row: ``initial``, doubled up to ``longest``.

    Callers wait for a random part of it, so that those that failed together do not retry together.
    """
    return min(initial * 2.0 ** min(failures - 1, 16), longest)


class OutageLog:
    """Log when an operation begins to fail, when it fails in another way, and when it has recovered.

    ``begin`` and ``end`` are the sentences to log ("Watch failed, retrying", "Watch recovered"); ``log`` may add fields
    to them. An outage is over when no failure follows a success within ``healthy_after`` seconds. ``failures`` counts
    those of the current outage.
    """

    def __init__(self, log: logging.Logger | FieldLogger, begin: str, end: str, healthy_after: float) -> None:
        self.failures = 0
        self._log = log
        self._begin = begin
        self._end = end
        self._healthy_after = healthy_after
        self._logged: set[tuple[object, ...]] = set()
        self._recovery: asyncio.TimerHandle | None = None

    def record_failure(self, error: Exception) -> None:
        """Log ``error`` unless one of its type and status was logged in this outage."""
        self.failures += 1
        if self._recovery:
            self._recovery.cancel()
            self._recovery = None
        kind = (type(error), getattr(error, "status", None))
        if kind not in self._logged:
            self._log.warning(self._begin, extra={"error": error})
        self._logged.add(kind)

    def record_success(self) -> None:
        """Begin to wait for the end of the outage, if there is one. Needs a running event loop."""
        if self.failures and not self._recovery:
            self._recovery = asyncio.get_running_loop().call_later(self._healthy_after, self._recover)

    def _recover(self) -> None:
        self._log.info(self._end, extra={"failures": self.failures})
        self.failures, self._logged, self._recovery = 0, set(), None

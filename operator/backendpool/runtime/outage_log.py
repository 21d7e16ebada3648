"""What fails again and again, told once: when it begins, when it fails in another way, and when it is over."""

from __future__ import annotations

import asyncio
import logging


class Outage:
    """One thing that fails at times, in two sentences: ``begin`` ("pools cannot be watched") and ``end``.

    ``failures`` counts those since it last worked for a while.
    """

    def __init__(self, log: logging.Logger, begin: str, end: str, settled: float) -> None:
        self.failures = 0
        self._log = log
        self._begin = begin
        self._end = end
        self._settled = settled
        self._told: set[tuple[object, ...]] = set()
        self._settling: asyncio.TimerHandle | None = None

    def failed(self, error: Exception) -> None:
        """It failed, and is tried again. Two servers that fail in two ways are no flood: each way is told once."""
        self.failures += 1
        if self._settling:
            self._settling.cancel()
            self._settling = None
        kind = (type(error), getattr(error, "status", None))
        if kind not in self._told:
            self._log.warning("%s, trying again: %s", self._begin, str(error) or repr(error))
        self._told.add(kind)

    def worked(self) -> None:
        """It worked; the outage is over if it does not fail again within ``settled`` seconds."""
        if self.failures and not self._settling:
            self._settling = asyncio.get_running_loop().call_later(self._settled, self._settle)

    def _settle(self) -> None:
        self._log.info(self._end)
        self.failures, self._told, self._settling = 0, set(), None

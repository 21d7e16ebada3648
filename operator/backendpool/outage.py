"""What fails again and again, told once: when it begins, when its kind changes, and when it is over."""

from __future__ import annotations

import asyncio
import logging

from backendpool.errors import ApiError


class Outage:
    """One thing that fails at times, in two sentences: ``begin`` ("pools cannot be watched") and ``end``."""

    def __init__(self, log: logging.Logger, begin: str, end: str, settled: float) -> None:
        self._log = log
        self._begin = begin
        self._end = end
        self._settled = settled
        self._told: tuple[object, ...] | None = None
        self._settling: asyncio.TimerHandle | None = None

    def failed(self, error: Exception) -> None:
        """It failed, and is tried again."""
        if self._settling:
            self._settling.cancel()
            self._settling = None
        kind = (type(error), error.status if isinstance(error, ApiError) else None)
        if kind != self._told:
            self._log.warning("%s, trying again: %s", self._begin, str(error) or repr(error))
        self._told = kind

    def worked(self) -> None:
        """It worked; the outage is over if it does not fail again within ``settled`` seconds."""
        if self._told and not self._settling:
            self._settling = asyncio.get_running_loop().call_later(self._settled, self._settle)

    def _settle(self) -> None:
        self._log.info(self._end)
        self._told = self._settling = None

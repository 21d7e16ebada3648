"""Resolver of ``file:///path``, for development and tests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from backendpool.client._resolvers.document import loader_for, parse_view
from backendpool.client._resolvers.resolver import FreshnessTracker, OnView
from backendpool.errors import SourceError
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)


class FileResolver:
    """Follows the file at ``path``, in the format of :mod:`~backendpool.client._resolvers.document`.

    The file is read every ``interval`` seconds and its content compared, so that each change is seen: a write in place,
    a rename, a symlink that moves (as kubelet does for a ConfigMap), also if size and mtime stay the same. If the file
    cannot be read or is invalid, the last view stays in effect; a file that is missing at the start is reported as
    None.

    Raises :class:`~backendpool.errors.SettingsError` if the file is YAML and the extra ``yaml`` is not installed.
    """

    def __init__(
        self,
        path: Path,
        on_view: OnView,
        *,
        interval: float = 1.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.problem: SourceError | None = None
        self._path = path
        self._log = FieldLogger(log, file=path)
        self._load = loader_for(path)
        self._interval = interval
        self._sleep = sleep
        self._freshness = FreshnessTracker(on_view)
        self._content: bytes | None = None

    def age(self) -> float:
        """Return the seconds since the file was last read and was valid; infinite before the first time."""
        return self._freshness.age()

    async def run(self) -> NoReturn:
        """Follow the file until cancelled."""
        while True:
            self._poll()
            await self._sleep(self._interval)

    def _poll(self) -> None:
        try:
            content = self._path.read_bytes()
        except OSError as error:
            self._content = None
            self._failed(f"cannot be read: {error.strerror}")
            if isinstance(error, FileNotFoundError):
                self._freshness.not_found()
            return
        if content != self._content:
            self._content = content
            self._parse(content)
        elif not self.problem:
            self._freshness.confirm()

    def _parse(self, content: bytes) -> None:
        try:
            view = parse_view(self._load(content))
        except SourceError as error:
            self._failed(str(error))
            return
        if self.problem:
            self._log.info("The pool's file can be read again")
        self.problem = None
        self._freshness.update(view)

    def _failed(self, why: str) -> None:
        problem = SourceError(f"{self._path}: {why}")
        if str(problem) != str(self.problem):
            self._log.warning("Reading the pool's file failed, retrying", extra={"error": why})
        self.problem = problem

"""The pool as a file has it, for development and tests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from backendpool.client.resolvers.document import loader_for, parse_view
from backendpool.client.resolvers.resolver import Knowledge, OnView
from backendpool.errors import SourceError

log = logging.getLogger(__name__)


class FileSource:
    """Tells ``on_view`` what the file at ``path`` says (see :mod:`~backendpool.client.resolvers.document`).

    It is read every ``interval`` seconds, and compared as a whole: whether it is written in place, replaced by a
    rename, or reached by a link that is turned, as kubelet does with a ConfigMap's, a change is seen, also one that
    leaves size and time as they were. A file that cannot be read, or does not say what it should, changes nothing of
    what was told; one that is missing at the start is told as None.

    Raises :class:`~backendpool.errors.SettingsError` where what reads YAML is not installed.
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
        self._load = loader_for(path)
        self._interval = interval
        self._sleep = sleep
        self._known = Knowledge(on_view)
        self._content: bytes | None = None

    def age(self) -> float:
        """Seconds since the file was last read and found to say what was told; infinite before the first time."""
        return self._known.age()

    async def run(self) -> NoReturn:
        """Follow the file until cancelled."""
        while True:
            self._look()
            await self._sleep(self._interval)

    def _look(self) -> None:
        try:
            content = self._path.read_bytes()
        except OSError as error:
            self._content = None
            self._failed(f"cannot be read: {error.strerror}")
            if isinstance(error, FileNotFoundError):
                self._known.miss()
            return
        if content != self._content:
            self._content = content
            self._take(content)
        elif not self.problem:
            self._known.confirm()

    def _take(self, content: bytes) -> None:
        try:
            view = parse_view(self._load(content))
        except SourceError as error:
            self._failed(str(error))
            return
        if self.problem:
            log.info("following %s again", self._path)
        self.problem = None
        self._known.learn(view)

    def _failed(self, why: str) -> None:
        problem = SourceError(f"{self._path}: {why}")
        if str(problem) != str(self.problem):
            log.warning("a pool's file is not followed, trying again: %s", problem)
        self.problem = problem

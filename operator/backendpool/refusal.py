"""When the API server refuses the watch on EndpointSlices, the pools say so: their lists may be old.

An API server that is away says nothing of the sort, for no status can be written then, and most outages are short.
A refusal stays until a person mends it, and is told once it has lasted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from backendpool.errors import Forbidden, Unauthorized


class Watched(Protocol):
    """A view that says what it failed of last, None while it is watched."""

    @property
    def problem(self) -> Exception | None: ...


@dataclass(frozen=True, slots=True)
class RefusalTiming:
    """In seconds: a refusal is told when it has lasted, and is looked at each ``interval``.

    A token that is renewed, or a role that is applied anew, may cost a refusal or two.
    """

    lasted: float = 15.0
    interval: float = 3.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


class Refusal:
    """``reason`` is why ``view`` has not been allowed to be current for a while, empty where it is.

    ``changed`` is called when there begins to be a reason, and when there is none any more.
    """

    def __init__(self, view: Watched, changed: Callable[[], None], timing: RefusalTiming = RefusalTiming()) -> None:
        self.reason = ""
        self._view = view
        self._changed = changed
        self._timing = timing

    async def run(self) -> NoReturn:
        """Look at it until cancelled."""
        since: float | None = None
        while True:
            problem, now = self._view.problem, self._timing.clock()
            if not isinstance(problem, Forbidden | Unauthorized):
                since = None
            elif since is None:
                since = now
            lasted = since is not None and now - since >= self._timing.lasted
            if lasted != bool(self.reason):
                self.reason = str(problem) if lasted else ""
                self._changed()
            await self._timing.sleep(self._timing.interval)

"""When the API server refuses a watch, the pools say so: what they tell may be old.

An API server that is away says nothing of the sort, for no status can be written then, and most outages are short.
A refusal stays until a person mends it, and is told once it has lasted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol

from backendpool.errors import Forbidden, Unauthorized
from backendpool.runtime.clock import since_boot


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
    clock: Callable[[], float] = since_boot
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


class Refusals:
    """``reasons`` are why some of ``views``, by kind, have not been allowed to be current for a while.

    ``changed`` is called when there is such a reason for another kind, and when there is none for one any more.
    """

    def __init__(
        self, views: Mapping[str, Watched], changed: Callable[[], None], timing: RefusalTiming = RefusalTiming()
    ) -> None:
        self.reasons: Mapping[str, str] = {}
        self._views = views
        self._changed = changed
        self._timing = timing

    async def run(self) -> NoReturn:
        """Look at them until cancelled."""
        since: dict[str, float] = {}
        while True:
            now, refused = self._timing.clock(), self._refused()
            since = {kind: since.get(kind, now) for kind in refused}
            lasting = {kind: words for kind, words in refused.items() if now - since[kind] >= self._timing.lasted}
            if lasting.keys() != self.reasons.keys():
                self.reasons = lasting
                self._changed()
            await self._timing.sleep(self._timing.interval)

    def _refused(self) -> dict[str, str]:
        problems = {kind: view.problem for kind, view in self._views.items()}
        return {kind: str(error) for kind, error in problems.items() if isinstance(error, Forbidden | Unauthorized)}

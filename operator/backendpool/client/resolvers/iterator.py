"""The pool as the caller's own code tells it: any service discovery that there is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from typing import NoReturn, TypeAlias

from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import PoolView
from backendpool.client.resolvers.resolver import Knowledge, OnView
from backendpool.errors import SourceError

log = logging.getLogger(__name__)

Views: TypeAlias = AsyncIterable[EndpointSet | PoolView] | AsyncIterable[EndpointSet] | AsyncIterable[PoolView]
"""The pool at each change; an :class:`EndpointSet` is used with the default policies."""


class IteratorSource:
    """Tells ``on_view`` each item of ``views`` that differs from the one before.

    An item makes what was told young again, also where it does not differ. After the last one, or an error, which is
    the ``problem`` then, what was told last stands for good.
    """

    def __init__(self, views: Views, on_view: OnView) -> None:
        self.problem: SourceError | None = None
        self._views = views
        self._known = Knowledge(on_view)

    def age(self) -> float:
        """Seconds since the last item, infinite before the first."""
        return self._known.age()

    async def run(self) -> NoReturn:
        """Follow the iterator until cancelled; its end, in whatever way, does not end this."""
        try:
            async for item in self._views:
                self._known.learn(PoolView(item) if isinstance(item, EndpointSet) else item)
        # It is the caller's code, and what it raises is not to be foreseen: it must not end the calls of a client
        # that knows where to send them.
        except Exception as error:
            self.problem = SourceError(f"the iterator of endpoints failed: {error!r}")
            log.exception("%s, going on with what was known", self.problem)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

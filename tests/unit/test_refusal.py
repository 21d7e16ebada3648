"""Pools say when the watch on their EndpointSlices is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from backendpool.errors import ClusterError, Forbidden, Unauthorized, Unreachable
from backendpool.refusal import Refusal, RefusalTiming

FORBIDDEN = Forbidden(403, "Forbidden", "endpointslices is forbidden")


@dataclass
class View:
    problem: ClusterError | None = None


class Story:
    """A view's problems, one for each look at it, three seconds apart; what was told by then is ``told``."""

    def __init__(self, *problems: ClusterError | None) -> None:
        self.view = View()
        self.told: list[str] = []
        self._problems = iter(problems)
        self._now = 0.0
        timing = RefusalTiming(clock=lambda: self._now, sleep=self._sleep)
        self.refusal = Refusal(self.view, lambda: self.told.append(self.refusal.reason), timing)

    async def _sleep(self, seconds: float) -> None:
        self._now += seconds
        try:
            self.view.problem = next(self._problems)
        except StopIteration:
            raise asyncio.CancelledError from None

    async def tell(self) -> list[str]:
        with pytest.raises(asyncio.CancelledError):
            await self.refusal.run()
        return self.told


@pytest.mark.parametrize("error", [FORBIDDEN, Unauthorized(401, "Unauthorized", "Unauthorized")])
async def test_refusal_that_lasts_is_told_once(error: ClusterError) -> None:
    """However often it is looked at; and that it is over as well."""
    assert await Story(*[error] * 20, None, None).tell() == [str(error), ""]


async def test_refusal_that_passes_is_not_told() -> None:
    """A token is renewed, a role is applied anew: none of it is for the users of a pool."""
    assert await Story(*[FORBIDDEN] * 4, None, *[FORBIDDEN] * 4, None).tell() == []


async def test_server_that_is_away_is_no_refusal() -> None:
    """Nothing could be written then, and all would be written twice as it comes back."""
    assert await Story(*[Unreachable("no route to host")] * 20).tell() == []

"""Persistent watch failures, as pools report them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from backendpool.controller.watch_failures import PersistentWatchFailures, WatchFailureTiming
from backendpool.errors import ClusterError, Forbidden, Unauthorized, Unreachable
from backendpool.k8s.resources import ENDPOINT_SLICES, SERVICES

FORBIDDEN = Forbidden(403, "Forbidden", "endpointslices is forbidden")


@dataclass
class FakeInformer:
    problem: ClusterError | None = None
    synced: bool = True

    def age(self) -> float:
        return 0.0


class WatchedKind:
    """The errors of a kind at each check, three seconds apart, and the failures reported so far."""

    def __init__(self, *problems: ClusterError | None) -> None:
        self.informers = {ENDPOINT_SLICES: FakeInformer(), SERVICES: FakeInformer()}
        self.told: list[dict[str, str]] = []
        self._problems = iter(problems)
        self._now = 0.0
        timing = WatchFailureTiming(clock=lambda: self._now, sleep=self._sleep)
        self.failures = PersistentWatchFailures(self.informers, self._changed, timing)

    def _changed(self) -> None:
        self.told.append(dict(self.failures.errors))

    async def _sleep(self, seconds: float) -> None:
        self._now += seconds
        try:
            self.informers[ENDPOINT_SLICES].problem = next(self._problems)
        except StopIteration:
            raise asyncio.CancelledError from None

    async def tell(self) -> list[dict[str, str]]:
        with pytest.raises(asyncio.CancelledError):
            await self.failures.run()
        return self.told


@pytest.mark.parametrize("error", [FORBIDDEN, Unauthorized(401, "Unauthorized", "Unauthorized")])
async def test_refusal_that_lasts_is_told_once(error: ClusterError) -> None:
    """A persistent failure is reported once, and so is its end."""
    assert await WatchedKind(*[error] * 20, None, None).tell() == [{"EndpointSlice": str(error)}, {}]


async def test_refusal_that_passes_is_not_told() -> None:
    """A brief failure, as when a token rotates or a role is applied again, is not reported."""
    assert await WatchedKind(*[FORBIDDEN] * 4, None, *[FORBIDDEN] * 4, None).tell() == []


async def test_server_that_is_away_is_no_refusal() -> None:
    """An unreachable API server is not reported: nothing could be written during the outage."""
    assert await WatchedKind(*[Unreachable("no route to host")] * 20).tell() == []


async def test_each_kind_has_its_own_time() -> None:
    """The duration of a failure is measured per kind."""
    watched = WatchedKind(*[None] * 10, *[FORBIDDEN] * 4, None, *[FORBIDDEN] * 10)
    watched.informers[SERVICES].problem = FORBIDDEN
    assert await watched.tell() == [
        {"Service": str(FORBIDDEN)},
        {"Service": str(FORBIDDEN), "EndpointSlice": str(FORBIDDEN)},
    ]


async def test_other_words_are_no_news() -> None:
    """A change between 401 and 403 is the same failure and is reported once."""
    unauthorized = Unauthorized(401, "Unauthorized", "Unauthorized")
    assert await WatchedKind(*[FORBIDDEN] * 10, *[unauthorized] * 10).tell() == [{"EndpointSlice": str(FORBIDDEN)}]

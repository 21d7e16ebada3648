"""The stall timer, which many calls share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

import pytest

from backendpool.client._stall_timer import StallTimer
from tests.fakes.clock import FakeClock


@dataclass(eq=False)
class Call:
    fired: int = 0

    def stall_timer_fired(self) -> None:
        self.fired += 1


class CountingClock(FakeClock):
    made = 0

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.made += 1
        super().call_later(seconds, callback)


@pytest.fixture
def timers() -> CountingClock:
    return CountingClock()


@pytest.fixture
def stall_timer(timers: CountingClock) -> StallTimer:
    return StallTimer(timers.call_later)


def test_fires_once_and_soon_after_it_is_due(stall_timer: StallTimer, timers: CountingClock) -> None:
    call = Call()
    stall_timer.watch(call, 7.03, 1.0)
    timers.advance(0.999)
    assert call.fired == 0
    timers.advance(0.101)
    assert call.fired == 1
    timers.advance(10.0)
    assert call.fired == 1


def test_calls_that_are_due_together_share_a_timer(stall_timer: StallTimer, timers: CountingClock) -> None:
    calls = [Call() for _ in range(100)]
    for number, call in enumerate(calls):
        stall_timer.watch(call, number * 0.0001, 1.005)
    assert timers.made == 1
    timers.advance(1.2)
    assert [call.fired for call in calls] == [1] * 100


def test_call_that_was_answered_is_not_called_back(stall_timer: StallTimer, timers: CountingClock) -> None:
    answered, stalled = Call(), Call()
    bucket = stall_timer.watch(answered, 0.0, 1.0)
    stall_timer.watch(stalled, 0.0, 1.0)
    del bucket[id(answered)]
    timers.advance(2.0)
    assert (answered.fired, stalled.fired) == (0, 1)


def test_call_that_was_dropped_is_not_kept(stall_timer: StallTimer, timers: CountingClock) -> None:
    call = Call()
    stall_timer.watch(call, 0.0, 1.0)
    dropped = ref(call)
    del call
    assert dropped() is None
    timers.advance(2.0)


def test_call_may_remove_another_when_it_is_called_back(stall_timer: StallTimer, timers: CountingClock) -> None:
    class Last(Call):
        def stall_timer_fired(self) -> None:
            super().stall_timer_fired()
            bucket.clear()

    calls = [Last(), Last()]
    for call in calls:
        bucket = stall_timer.watch(call, 0.0, 1.0)
    timers.advance(2.0)
    assert [call.fired for call in calls] == [1, 1]

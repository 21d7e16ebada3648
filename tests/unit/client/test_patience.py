"""Calls that have waited for long, told so by timers that many share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

import pytest

from backendpool.client.silence import Silence
from tests.fakes.clock import FakeClock


@dataclass(eq=False)
class Call:
    told: int = 0

    def suspect(self) -> None:
        self.told += 1


class CountingClock(FakeClock):
    made = 0

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.made += 1
        super().call_later(seconds, callback)


@pytest.fixture
def timers() -> CountingClock:
    return CountingClock()


@pytest.fixture
def silence(timers: CountingClock) -> Silence:
    return Silence(timers.call_later)


def test_call_is_told_once_its_time_is_over_and_soon_after(silence: Silence, timers: CountingClock) -> None:
    call = Call()
    silence.watch(call, 7.03, 1.0)
    timers.advance(0.999)
    assert call.told == 0
    timers.advance(0.101)
    assert call.told == 1
    timers.advance(10.0)
    assert call.told == 1


def test_calls_that_are_due_together_share_a_timer(silence: Silence, timers: CountingClock) -> None:
    calls = [Call() for _ in range(100)]
    for number, call in enumerate(calls):
        silence.watch(call, number * 0.0001, 1.005)
    assert timers.made == 1
    timers.advance(1.2)
    assert [call.told for call in calls] == [1] * 100


def test_call_that_was_heard_is_not_told(silence: Silence, timers: CountingClock) -> None:
    heard, silent = Call(), Call()
    watched = silence.watch(heard, 0.0, 1.0)
    silence.watch(silent, 0.0, 1.0)
    del watched[id(heard)]
    timers.advance(2.0)
    assert (heard.told, silent.told) == (0, 1)


def test_call_that_was_dropped_is_not_kept(silence: Silence, timers: CountingClock) -> None:
    call = Call()
    silence.watch(call, 0.0, 1.0)
    dropped = ref(call)
    del call
    assert dropped() is None
    timers.advance(2.0)


def test_one_that_is_told_may_remove_another(silence: Silence, timers: CountingClock) -> None:
    class Last(Call):
        def suspect(self) -> None:
            super().suspect()
            watched.clear()

    calls = [Last(), Last()]
    for call in calls:
        watched = silence.watch(call, 0.0, 1.0)
    timers.advance(2.0)
    assert [call.told for call in calls] == [1, 1]

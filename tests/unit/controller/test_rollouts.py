"""The limit on simultaneous rollouts."""

from __future__ import annotations

from backendpool.api.pool import PoolKey
from backendpool.controller.rollouts import ROLLOUT_SECONDS, RolloutLimiter
from tests.fakes.clock import FakeClock


class Limited:
    """A limiter of two rollouts, and the pools that it admitted later."""

    def __init__(self) -> None:
        self.admitted: list[PoolKey] = []
        self.clock = FakeClock()
        self.limiter = RolloutLimiter(2, self.admitted.append, self.clock.call_later)

    def ask(self, *keys: PoolKey) -> list[bool]:
        return [self.limiter.admit(key) for key in keys]


def keys(namespace: str, count: int) -> list[PoolKey]:
    return [(namespace, f"pool-{number}") for number in range(count)]


def test_as_many_as_the_limit_begin_at_once() -> None:
    """Up to the limit, rollouts begin at once; an admitted pool takes only one slot."""
    limited, (one, two, three) = Limited(), keys("a", 3)
    assert limited.ask(one, two, three, one, two) == [True, True, False, True, True]
    assert limited.admitted == []


def test_end_of_one_is_the_turn_of_the_next() -> None:
    """Each completed rollout admits the next pool, in order of arrival."""
    limited, (one, two, three, four) = Limited(), keys("a", 4)
    limited.ask(one, two, four, three, four)
    limited.limiter.finish(two)
    limited.limiter.finish(two)
    assert limited.admitted == [four]
    assert limited.ask(four, three) == [True, False]


def test_pool_that_no_longer_wants_is_passed_over() -> None:
    """A waiting pool that was deleted or has no lookaside is skipped."""
    limited, (one, two, three, four) = Limited(), keys("a", 4)
    limited.ask(one, two, three, four)
    limited.limiter.finish(three)
    assert limited.admitted == []
    limited.limiter.finish(one)
    assert limited.admitted == [four]


def test_rollout_that_does_not_complete_makes_room() -> None:
    """An incomplete rollout stops counting after a minute; the pool's next change waits like any other."""
    limited, (one, two, three) = Limited(), keys("a", 3)
    limited.ask(one, two, three)
    limited.clock.advance(ROLLOUT_SECONDS / 2)
    limited.limiter.finish(two)
    limited.ask(two)
    limited.clock.advance(ROLLOUT_SECONDS / 2)
    assert limited.admitted == [three, two]
    assert limited.ask(one) == [False]


def test_early_end_outlives_its_timer() -> None:
    """A second rollout of a pool gets a full minute, regardless of the timer of the first."""
    limited, (one, two, three) = Limited(), keys("a", 3)
    limited.ask(one)
    limited.limiter.finish(one)
    limited.clock.advance(ROLLOUT_SECONDS / 2)
    limited.ask(one, two, three)
    limited.clock.advance(ROLLOUT_SECONDS / 2)
    assert limited.admitted == []


def test_no_namespace_waits_behind_all_pools_of_another() -> None:
    """A namespace with a thousand pools delays a pool of another namespace by one rollout at most."""
    limited, many, (only,) = Limited(), keys("many", 1000), keys("few", 1)
    limited.ask(*many, only)
    limited.limiter.finish(many[0])
    assert limited.admitted == [only]
    limited.limiter.finish(only)
    assert limited.admitted == [only, many[2]]


def test_rollout_under_way_counts_beyond_the_limit() -> None:
    """Rollouts of an earlier leader count, even beyond the limit, and are not restarted after their minute."""
    limited, (one, two, three, four) = Limited(), keys("a", 4)
    limited.ask(four)
    for key in (one, two, three):
        limited.limiter.resume(key)
    assert limited.ask(("b", "new")) == [False]
    limited.limiter.finish(one)
    limited.limiter.finish(two)
    assert limited.admitted == []
    limited.clock.advance(ROLLOUT_SECONDS)
    limited.limiter.resume(three)
    assert limited.admitted == [("b", "new")]
    assert limited.ask(("c", "new")) == [True]

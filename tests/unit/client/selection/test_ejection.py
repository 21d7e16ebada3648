"""Failing backends: ejection, penalty and return."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from grpc import StatusCode

from backendpool.api.load_balancing import LoadBalancing, Policy
from tests.unit.client.selection.selected import OUTLIERS, Held, Selected, backends


async def test_backend_that_fails_is_ejected_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    """An ejected backend gets no calls for its time, then its share; both are logged and counted."""
    caplog.set_level(logging.INFO, "backendpool.client")
    async with backends("", "", "") as three:
        selected = Selected(three, LoadBalancing(outliers=OUTLIERS))
        for backend in three:
            selected.call(backend, times=5)
        selected.call(three[0], StatusCode.INTERNAL, times=20)
        assert selected.shares(30).keys() == {"0", "1", "2"}
        selected.passes(OUTLIERS.interval)
        assert [selected.selection.ejected(backend) for backend in three] == [True, False, False]
        assert selected.shares(30) == {"1": 15, "2": 15}
        selected.passes(OUTLIERS.base_ejection)
        assert selected.shares(30).keys() == {"1", "2"}
        selected.passes(OUTLIERS.interval)
        assert selected.shares(30) == {"0": 10, "1": 10, "2": 10}
        assert [backend.ejections for backend in three] == [1, 0, 0]
    assert caplog.messages == [
        "Ejected a backend pool=ns/who backend=127.0.0.1:1 calls=25 failed_calls=20",
        "Ejection of a backend ended pool=ns/who backend=127.0.0.1:1",
    ]


async def test_calls_that_were_given_up_are_no_failures() -> None:
    """Calls that their callers cancel do not count as failures."""
    async with backends("", "", "") as three:
        selected = Selected(three, LoadBalancing(outliers=OUTLIERS))
        selected.call(three[0], StatusCode.CANCELLED, times=100)
        selected.passes(OUTLIERS.interval)
        assert not selected.selection.ejected(three[0])


async def test_ejection_outlives_a_change_of_the_set() -> None:
    """An ejection lasts through changes of other backends, and ends if the backend is removed."""
    async with backends("", "", "", "") as four:
        selected = Selected(four[:3], LoadBalancing(outliers=OUTLIERS))
        selected.call(four[0], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        selected.selection.replace(four)
        assert selected.shares(30).keys() == {"1", "2", "3"}
        selected.selection.replace(four[1:])
        selected.selection.replace(four)
        assert selected.shares(40).keys() == {"0", "1", "2", "3"}


async def test_calls_are_watched_only_where_something_goes_by_them() -> None:
    """Calls are observed only if the policy or outlier detection needs it."""
    async with backends("") as one:
        for balancing, watches in (
            (LoadBalancing(), False),
            (LoadBalancing(Policy.RANDOM), False),
            (LoadBalancing(Policy.CONSISTENT_HASH, hash_header="user"), False),
            (LoadBalancing(Policy.LEAST_REQUEST), True),
            (LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN), True),
            (LoadBalancing(outliers=OUTLIERS), True),
        ):
            Selected(one, balancing)
            assert (one[0].observer is not None) is watches, balancing


async def test_fast_failures_attract_no_load() -> None:
    """Under LeastRequest, a backend that fails fast does not attract load."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.LEAST_REQUEST))
        selected.call(two[0], StatusCode.UNAVAILABLE, times=5)
        held: Any = Held()
        two[1].track(held)
        assert selected.shares(20) == {"1": 20}


async def test_change_of_policy_keeps_ejections() -> None:
    """A change of policy keeps ejections."""
    async with backends("", "", "") as three:
        selected = Selected(three, LoadBalancing(outliers=OUTLIERS))
        selected.call(three[0], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        selected.selection.configure(LoadBalancing(Policy.RANDOM, outliers=OUTLIERS))
        assert selected.shares(50).keys() == {"1", "2"}

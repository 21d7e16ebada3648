"""Backoff, and the log of outages."""

import asyncio
import logging

import pytest

from backendpool.errors import ApiError, LookasideError, Unreachable
from backendpool.runtime.backoff import OutageLog

pytestmark = pytest.mark.fake_clock

LOG = logging.getLogger("backendpool.test")
NEVER, AT_ONCE = 60.0, 0.0


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_each_kind_of_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is one line for each kind, come they in turns or not; an error without words is told by its name."""
    outage = OutageLog(LOG, "pools cannot be watched", "watching pools again", NEVER)
    for error in (Unreachable("refused"), Unreachable("cut"), ApiError(500, "a", "b"), ApiError(503, "a", "b")):
        outage.record_failure(error)
    for status in ("UNAVAILABLE", "NOT_FOUND"):
        outage.record_failure(LookasideError(status, "c"))
    outage.record_failure(ValueError())
    for error in (Unreachable("refused"), ApiError(500, "a", "b")) * 5:
        outage.record_failure(error)
    assert outage.failures == 17
    assert caplog.messages == [
        "pools cannot be watched, trying again: refused",
        "pools cannot be watched, trying again: 500 a: b",
        "pools cannot be watched, trying again: 503 a: b",
        "pools cannot be watched, trying again: UNAVAILABLE: c",
        "pools cannot be watched, trying again: NOT_FOUND: c",
        "pools cannot be watched, trying again: ValueError()",
    ]


async def test_end_is_told_and_the_next_outage_too(caplog: pytest.LogCaptureFixture) -> None:
    """It is over when it has worked for a while; what then fails is another one."""
    outage = OutageLog(LOG, "it fails", "it works", AT_ONCE)
    outage.record_success()
    outage.record_failure(Unreachable("refused"))
    outage.record_success()
    outage.record_success()
    await asyncio.sleep(0.01)
    assert outage.failures == 0
    outage.record_success()
    await asyncio.sleep(0.01)
    outage.record_failure(Unreachable("refused"))
    told = ["it fails, trying again: refused", "it works", "it fails, trying again: refused"]
    assert caplog.messages == told


async def test_what_works_for_a_moment_is_not_over(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails and works in turn is one outage."""
    outage = OutageLog(LOG, "it fails", "it works", 0.05)
    for _ in range(5):
        outage.record_failure(Unreachable("refused"))
        outage.record_success()
    outage.record_failure(Unreachable("refused"))
    await asyncio.sleep(0.1)
    assert caplog.messages == ["it fails, trying again: refused"]

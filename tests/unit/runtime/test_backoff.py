"""Backoff, and the log of outages."""

import asyncio
import logging

import pytest

from backendpool.errors import ApiError, LookasideError, Unreachable
from backendpool.runtime.backoff import OutageLog
from backendpool.runtime.logs import FieldLogger

pytestmark = pytest.mark.fake_clock

LOG = FieldLogger(logging.getLogger("backendpool.test"), pool="ns/who")
FAILED = "Watch failed, retrying pool=ns/who"
NEVER, AT_ONCE = 60.0, 0.0


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_each_kind_of_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage logs one line per kind of failure; an error without a message is logged by its repr."""
    outage = OutageLog(LOG, "Watch failed, retrying", "Watch recovered", NEVER)
    for error in (Unreachable("refused"), Unreachable("cut"), ApiError(500, "a", "b"), ApiError(503, "a", "b")):
        outage.record_failure(error)
    for status in ("UNAVAILABLE", "NOT_FOUND"):
        outage.record_failure(LookasideError(status, "c"))
    outage.record_failure(ValueError())
    for error in (Unreachable("refused"), ApiError(500, "a", "b")) * 5:
        outage.record_failure(error)
    assert outage.failures == 17
    assert caplog.messages == [
        "Watch failed, retrying pool=ns/who error=refused",
        'Watch failed, retrying pool=ns/who error="500 a: b"',
        'Watch failed, retrying pool=ns/who error="503 a: b"',
        'Watch failed, retrying pool=ns/who error="UNAVAILABLE: c"',
        'Watch failed, retrying pool=ns/who error="NOT_FOUND: c"',
        "Watch failed, retrying pool=ns/who error=ValueError()",
    ]


async def test_end_is_told_and_the_next_outage_too(caplog: pytest.LogCaptureFixture) -> None:
    """An outage ends after a healthy period; the next failure starts another one."""
    outage = OutageLog(LOG, "Watch failed, retrying", "Watch recovered", AT_ONCE)
    outage.record_success()
    outage.record_failure(Unreachable("refused"))
    outage.record_success()
    outage.record_success()
    await asyncio.sleep(0.01)
    assert outage.failures == 0
    outage.record_success()
    await asyncio.sleep(0.01)
    outage.record_failure(Unreachable("refused"))
    told = [f"{FAILED} error=refused", "Watch recovered pool=ns/who failures=1", f"{FAILED} error=refused"]
    assert caplog.messages == told


async def test_what_works_for_a_moment_is_not_over(caplog: pytest.LogCaptureFixture) -> None:
    """Alternating failures and successes are one outage."""
    outage = OutageLog(LOG, "Watch failed, retrying", "Watch recovered", 0.05)
    for _ in range(5):
        outage.record_failure(Unreachable("refused"))
        outage.record_success()
    outage.record_failure(Unreachable("refused"))
    await asyncio.sleep(0.1)
    assert caplog.messages == [f"{FAILED} error=refused"]

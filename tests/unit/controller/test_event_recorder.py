"""Kubernetes events about pools."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
import pytest_asyncio

from backendpool.controller.event_recorder import EventRecorder, PoolEvent
from backendpool.controller.workqueue import WorkTiming
from backendpool.errors import Forbidden, Unreachable
from backendpool.k8s.client import Api
from backendpool.k8s.resources import EVENTS, Resource
from tests.fakes.logs import logged
from tests.fakes.objects import parsed_pool
from tests.fakes.until import until

MADE = PoolEvent("ChildrenApplied", "Applied Service greetserver.", action="Apply")


class Posted:
    """An API server that accepts events after ``delay`` seconds and first raises the errors in ``failures``."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.delay = 0.0
        self.begun = asyncio.Event()

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        assert resource is EVENTS
        self.begun.set()
        await asyncio.sleep(self.delay)
        if self.failures:
            raise self.failures.pop(0)
        self.events.append(obj)
        return obj

    async def noted(self, count: int) -> list[dict[str, Any]]:
        """Return the first ``count`` events."""
        await until(lambda: len(self.events) >= count)
        return self.events


@pytest.fixture
def posted() -> Posted:
    return Posted()


@pytest.fixture
def recorder(posted: Posted) -> EventRecorder:
    return EventRecorder(cast("Api", posted), "operator-0")


@pytest_asyncio.fixture
async def running(recorder: EventRecorder) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(recorder.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("running")
async def test_event_is_about_its_pool(posted: Posted, recorder: EventRecorder) -> None:
    """The event refers to the pool by uid, and has reason, action, reporter and type."""
    recorder.record(parsed_pool(), MADE)
    recorder.record(parsed_pool(), PoolEvent("Conflict", "Left alone.", warning=True))
    made, conflict = await posted.noted(2)
    assert made["metadata"] == {"generateName": "greetserver-", "namespace": "default"}
    assert made["regarding"]["kind"] == "GrpcBackendPool"
    assert made["regarding"]["uid"] == parsed_pool().uid
    assert (made["type"], made["reason"], made["action"]) == ("Normal", "ChildrenApplied", "Apply")
    assert made["note"] == "Applied Service greetserver."
    assert made["eventTime"].endswith("Z")
    assert (made["reportingController"], made["reportingInstance"]) == ("backendpool.io/operator", "operator-0")
    assert (conflict["type"], conflict["reason"]) == ("Warning", "Conflict")


@pytest.mark.usefixtures("running")
async def test_refused_event_is_dropped_and_the_next_one_posted(posted: Posted, recorder: EventRecorder) -> None:
    """A rejected event is dropped and does not delay the next one."""
    posted.failures = [Forbidden(403, "Forbidden", "the namespace is being terminated"), Unreachable("refused")]
    for reason in ("First", "Second", "Third"):
        recorder.record(parsed_pool(), PoolEvent(reason, "It is so."))
    assert [event["reason"] for event in await posted.noted(1)] == ["Third"]


@pytest.mark.usefixtures("running")
async def test_outage_is_told_once(posted: Posted, recorder: EventRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """When many events cannot be posted, one line is logged."""
    posted.failures = [Unreachable("refused") for _ in range(100)]
    for number in range(101):
        recorder.record(parsed_pool(), PoolEvent(f"Reason{number}", "It is so."))
    await posted.noted(1)
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warned == logged(caplog, "Posting events failed, dropping them", error="refused")
    assert len(warned) == 1


async def test_what_happens_again_and_again_is_told_less_and_less(posted: Posted) -> None:
    """Repeated events are throttled; the last one carries the latest note and the count."""
    recorder = EventRecorder(cast("Api", posted), "operator-0", WorkTiming(min_interval=0.05, max_interval=0.2))
    task = asyncio.create_task(recorder.run())
    for number in range(1, 101):
        recorder.record(parsed_pool(), PoolEvent("EndpointsReady", f"{number} endpoints are ready."))
        recorder.record(parsed_pool(), PoolEvent("NoEndpoints", "No pod can take calls."))
        await asyncio.sleep(0.004)
    await until(lambda: posted.events[-2]["note"].startswith("100 "))
    task.cancel()
    told = [event for event in posted.events if event["reason"] == "EndpointsReady"]
    assert told[0]["note"] == "1 endpoints are ready."
    assert len(told) == len(posted.events) / 2 <= 9, "spacings 0.05, 0.1, 0.2 … within half a second"
    times = [int(found[1]) if (found := re.search(r"\((\d+) times", event["note"])) else 1 for event in told]
    assert sum(times) == 100


async def test_reasons_and_pools_do_not_hold_each_other_up(posted: Posted) -> None:
    """Throttling one reason or pool does not delay events of others."""
    recorder = EventRecorder(cast("Api", posted), "operator-0", WorkTiming(min_interval=60))
    task = asyncio.create_task(recorder.run())
    for uid in ("one", "two"):
        for reason in ("PoolReady", "Conflict", "PoolReady"):
            recorder.record(replace(parsed_pool(), uid=uid), PoolEvent(reason, "It is so."))
    await posted.noted(4)
    await asyncio.sleep(0.05)
    task.cancel()
    told = [(event["regarding"]["uid"], event["reason"]) for event in posted.events]
    assert told == [("one", "PoolReady"), ("one", "Conflict"), ("two", "PoolReady"), ("two", "Conflict")]


async def test_event_under_way_is_posted_to_its_end(posted: Posted, recorder: EventRecorder) -> None:
    """On shutdown, a post in flight is completed."""
    posted.delay = 0.05
    task = asyncio.create_task(recorder.run())
    recorder.record(parsed_pool(), MADE)
    await asyncio.wait_for(posted.begun.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(posted.events) == 1


async def test_what_is_too_long_is_cut(posted: Posted) -> None:
    """Notes are cut at 1024 bytes and instances at 128, never within a character."""
    recorder = EventRecorder(cast("Api", posted), "x" * 200, WorkTiming(min_interval=0.01))
    for _ in range(3):
        recorder.record(parsed_pool(), PoolEvent("Conflict", "a" + "ü" * 1000))
    task = asyncio.create_task(recorder.run())
    await posted.noted(1)
    recorder.record(parsed_pool(), PoolEvent("Conflict", "a" + "ü" * 1000))
    repeated, once = await posted.noted(2)
    task.cancel()
    assert once["note"] == "a" + "ü" * 511
    assert len(repeated["note"].encode()) <= 1024
    assert repeated["note"].endswith("üü (3 times since it was last told)")
    assert repeated["reportingInstance"] == "x" * 128


async def test_recording_never_waits_and_never_grows(
    posted: Posted, recorder: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """During an outage, at most a thousand events are pending; later ones are dropped, with two log lines."""
    for number in range(1002):
        recorder.record(replace(parsed_pool(), uid=f"uid-{number}"), MADE)
    task = asyncio.create_task(recorder.run())
    assert len(await posted.noted(1000)) == 1000
    await asyncio.sleep(0)
    task.cancel()
    assert [record for record in caplog.records if record.levelname == "WARNING"] == [
        *logged(caplog, "Too many pending events, dropping further ones", pool="default/greetserver", pending=1000),
        *logged(caplog, "Dropped events", dropped=2),
    ]
    assert logged(caplog, "Dropped events")


async def test_no_error_ends_the_recorder(posted: Posted, recorder: EventRecorder, running: asyncio.Task[Any]) -> None:
    """An unexpected error drops its event, and the next event is posted."""
    posted.failures = [ZeroDivisionError()]
    recorder.record(parsed_pool(), MADE)
    await until(lambda: not posted.failures)
    recorder.record(parsed_pool(), replace(MADE, reason="Removed", note="Removed \ud800."))
    (event,) = await posted.noted(1)
    assert (event["reason"], event["note"]) == ("Removed", "Removed ?.")
    assert not running.done()


async def test_notice_between_taking_a_key_and_posting_it(posted: Posted) -> None:
    """A second event of a reason that arrives while the first is being posted is merged with it."""
    recorder = EventRecorder(cast("Api", posted), "operator-0", WorkTiming(min_interval=0.01))
    running = asyncio.create_task(recorder.run())
    recorder.record(parsed_pool(), MADE)
    await until(lambda: any(item.running for item in recorder._queue._items.values()), interval=0)
    assert not posted.begun.is_set()
    recorder.record(parsed_pool(), MADE)
    (event,) = await posted.noted(1)
    assert "2 times" in event["note"]
    await until(lambda: not recorder._queue._items)  # a second run found nothing to post
    assert (len(posted.events), running.done()) == (1, False)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

"""Kubernetes events about pools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio

from backendpool.cluster.api import Api
from backendpool.cluster.resources import EVENTS, Resource
from backendpool.errors import Forbidden, Unreachable
from backendpool.recorder import EventRecorder, Notice
from tests.unit.pools import pool

MADE = Notice("ChildrenApplied", "Applied Service greetserver.", action="Apply")


class Posted:
    """An API server that takes events, and raises first what stands in ``failures``."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.failures: list[Exception] = []

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        assert resource is EVENTS
        if self.failures:
            raise self.failures.pop(0)
        self.events.append(obj)
        return obj

    async def noted(self, count: int) -> list[dict[str, Any]]:
        """The first ``count`` events."""
        async with asyncio.timeout(5):
            while len(self.events) < count:
                await asyncio.sleep(0)
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
    """kubectl describe finds it by the pool's uid, and it says what was done, by whom and how grave it is."""
    recorder.record(pool(), MADE)
    recorder.record(pool(), Notice("Conflict", "Left alone.", warning=True))
    made, conflict = await posted.noted(2)
    assert made["metadata"] == {"generateName": "greetserver-", "namespace": "default"}
    assert made["regarding"]["kind"] == "GrpcBackendPool"
    assert made["regarding"]["uid"] == "pool-uid"
    assert (made["type"], made["reason"], made["action"]) == ("Normal", "ChildrenApplied", "Apply")
    assert made["note"] == "Applied Service greetserver."
    assert made["eventTime"].endswith("Z")
    assert (made["reportingController"], made["reportingInstance"]) == ("backendpool.io/operator", "operator-0")
    assert (conflict["type"], conflict["reason"]) == ("Warning", "Conflict")


@pytest.mark.usefixtures("running")
async def test_refused_event_is_dropped_and_the_next_one_posted(
    posted: Posted, recorder: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be posted is told in the log, and holds nothing up."""
    posted.failures = [Forbidden(403, "Forbidden", "the namespace is being terminated"), Unreachable("refused")]
    for reason in ("First", "Second", "Third"):
        recorder.record(pool(), Notice(reason, "It is so."))
    assert [event["reason"] for event in await posted.noted(1)] == ["Third"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.split(":")[0] for message in warned] == [
        "could not post the event First",
        "could not post the event Second",
    ]


async def test_what_is_too_long_is_cut(posted: Posted) -> None:
    """The API server takes notes of 1024 bytes and instances of 128; a letter is not cut in two."""
    recorder = EventRecorder(cast("Api", posted), "x" * 200)
    task = asyncio.create_task(recorder.run())
    recorder.record(pool(), Notice("Conflict", "a" + "ü" * 1000))
    (event,) = await posted.noted(1)
    task.cancel()
    assert event["note"] == "a" + "ü" * 511
    assert event["reportingInstance"] == "x" * 128


async def test_recording_never_waits_and_never_grows(
    posted: Posted, recorder: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """While the API server is away, a thousand events wait and later ones are dropped: two lines tell of all."""
    for _ in range(1002):
        recorder.record(pool(), MADE)
    task = asyncio.create_task(recorder.run())
    assert len(await posted.noted(1000)) == 1000
    await asyncio.sleep(0)
    task.cancel()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "dropping events, the first of default/greetserver: 1000 wait already",
        "dropped 2 events",
    ]


async def test_bug_ends_the_recorder(posted: Posted, recorder: EventRecorder, running: asyncio.Task[Any]) -> None:
    """An error that is not the cluster's is not taken for one."""
    posted.failures = [ZeroDivisionError()]
    recorder.record(pool(), MADE)
    with pytest.raises(ZeroDivisionError):
        await running

"""The pool informer survives everything that makes kopf exit, without flooding log or API server."""

from __future__ import annotations

import pytest

from backendpool.controller.resync import ResyncTiming
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.resources import POOLS
from tests.fakes.logs import logged
from tests.fakes.until import until
from tests.unit.controller.pool_informer.harness import OFTEN, ONLY_POOLS, InformerHarness
from tools.fault_proxy.rules import Action, Point, Rule


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=401, count=2), "Unauthorized"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=403, count=2), "Forbidden"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=404, count=2), "NotFound"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=410, count=2), "Gone"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=429, retry_after=0, count=2), "TooManyRequests"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=500, count=2), "ApiError"),
    ],
    ids=lambda value: f"{value.action}-{value.status}" if isinstance(value, Rule) else value,
)
async def test_refusals_are_survived_and_counted(harness: InformerHarness, rule: Rule, error: str) -> None:
    """A watch that breaks and is rejected twice recovers with all changes, and each rejection is counted."""
    await harness.script(rule)
    await harness.cut()
    harness.put("two")
    await harness.knows("one", "two")
    assert harness.failures == {error: 2}


async def test_connections_that_are_cut_are_survived(harness: InformerHarness) -> None:
    """The informer survives cut connections and an API server that does not respond."""
    await harness.script(Rule(Action.CUT, path=ONLY_POOLS))
    await harness.cut()
    harness.put("two")
    await until(lambda: harness.failures["Unreachable"] >= 2)
    await harness.script()
    await harness.knows("one", "two")
    assert harness.failures.keys() == {"Unreachable"}


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(Action.REFUSE, Point.EVENT, status=410, count=1), None),
        (Rule(Action.REFUSE, Point.EVENT, status=500, count=1), "WatchingError"),
        (Rule(Action.TRUNCATE, Point.EVENT, count=1), "JSONDecodeError"),
        (Rule(Action.CUT, Point.EVENT, count=1), None),
    ],
    ids=lambda value: f"{value.action}-{value.status}" if isinstance(value, Rule) else value,
)
async def test_broken_events_are_survived(harness: InformerHarness, rule: Rule, error: str | None) -> None:
    """After a malformed event, its pool and the next one are cached in the end.

    An event that makes kopf exit counts as a failure; a restart of the watch does not.
    """
    await harness.script(rule)
    harness.put("two")
    await harness.knows("one", "two")
    harness.put("three")
    await harness.knows("one", "two", "three")
    assert harness.failures == ({error: 1} if error else {})


async def test_outage_is_told_once(harness: InformerHarness, caplog: pytest.LogCaptureFixture) -> None:
    """An outage produces one line at its start, one at its end, and none from kopf."""
    caplog.set_level("INFO")
    await harness.script(Rule(Action.REFUSE, path=ONLY_POOLS, status=503))
    await harness.cut()
    await until(lambda: harness.failures["ApiError"] >= 5)
    await harness.script()
    await until(lambda: logged(caplog, "Watch recovered", resource="grpcbackendpools"))
    told = [record for record in caplog.records if record.name.startswith(("backendpool", "kopf"))]
    begun, _ = told
    assert logged(caplog, "Watch failed, retrying", resource="grpcbackendpools") == [begun]
    assert str(getattr(begun, "error", "")).startswith("503 ServiceUnavailable: ")


@pytest.mark.parametrize("timing", [ResyncTiming(retry=ReflectorTiming(healthy_after=0.1, jitter=max, backoff=0.1))])
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(Action.CLOSE, path=ONLY_POOLS, watch=True), "Unreachable"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=401), "Unauthorized"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=503), "ApiError"),
    ],
    ids=["closed at once", "401", "503"],
)
async def test_what_fails_on_is_no_flood(harness: InformerHarness, rule: Rule, error: str) -> None:
    """Persistent failures are retried with increasing delays, although kopf alone does not always wait."""
    await harness.script(rule)
    await harness.cut()
    pauses = harness.backoffs if error == "ApiError" else harness.pauses
    await until(lambda: len(pauses) >= 3)
    (used,) = await harness.used()
    assert used <= len(pauses) + 1
    assert pauses[:3] == [0.1, 0.2, 0.4]
    await until(lambda: harness.failures[error])
    await harness.script()
    harness.put("two")
    await harness.knows("one", "two")


@pytest.mark.parametrize("timing", [ResyncTiming(retry=ReflectorTiming(healthy_after=0.3, jitter=max, backoff=0.1))])
async def test_watches_that_expire_at_once_are_no_flood(
    harness: InformerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """Watches that expire at once are retried with increasing delays, counted, and logged once."""
    harness.server.selected.clear()
    harness.server.expired = {POOLS}
    await harness.cut()
    await until(lambda: len(harness.pauses) >= 3)
    assert len(harness.server.selected) <= 2 * (len(harness.pauses) + 1), "a list and a watch before each pause"
    assert harness.pauses[:3] == [0.1, 0.2, 0.4]
    await until(lambda: harness.failures["Unreachable"] >= 2)
    assert len(logged(caplog, "Watch failed, retrying")) == 1
    harness.server.expired = set()
    harness.put("two")
    await harness.knows("one", "two")


@pytest.mark.parametrize("timing", [OFTEN])
async def test_watch_that_hangs_is_begun_anew(harness: InformerHarness, caplog: pytest.LogCaptureFixture) -> None:
    """The resync detects a watch that stays open and delivers nothing, and restarts it."""
    await harness.script(Rule(Action.STALL, Point.EVENT, path=ONLY_POOLS, count=1))
    harness.put("two")
    await harness.grace_passes()
    await harness.knows("one", "two")
    assert harness.failures == {"Stalled": 1}
    error = "the watch is silent, though a list shows 1 made or changed"
    assert logged(caplog, "Watch failed, retrying", error=error)
    harness.put("three")
    await harness.knows("one", "two", "three")
    await until(lambda: harness.watch.resyncs[None].age() < 5)


@pytest.mark.parametrize("timing", [OFTEN])
async def test_absurd_retry_after_blinds_no_watch(harness: InformerHarness) -> None:
    """kopf honors any Retry-After, even a year; the resync restarts it as soon as there is a change."""
    await harness.script(Rule(Action.REFUSE, path=ONLY_POOLS, watch=True, status=429, retry_after=31536000, count=1))
    await harness.cut()
    await until(lambda: harness.failures["TooManyRequests"])
    harness.put("two")
    await harness.grace_passes()
    await harness.knows("one", "two")
    assert harness.failures == {"TooManyRequests": 1, "Stalled": 1}


@pytest.mark.parametrize("timing", [ResyncTiming(retry=ReflectorTiming(idle_timeout=0.3, healthy_after=0.1))])
async def test_silent_watch_is_given_up(harness: InformerHarness) -> None:
    """A watch without bookmarks, which come once a minute, is closed as dead."""
    await harness.script(Rule(Action.STALL, Point.EVENT, path=ONLY_POOLS, count=1))
    harness.put("two")
    await harness.knows("one", "two")
    assert not harness.failures["Stalled"]

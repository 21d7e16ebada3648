"""The whole operator against an API server on loopback."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Never

import pytest

from backendpool.api import pool as pool_module
from backendpool.api.constants import KIND
from backendpool.api.pool import Pool, parse_pool
from backendpool.children import desired
from backendpool.children.manifest import Child
from backendpool.controller import child_applier, manager, pool_informer
from backendpool.controller.manager import Manager
from backendpool.controller.settings import OperatorSettings
from backendpool.controller.watch_failures import WatchFailureTiming
from backendpool.controller.workqueue import WorkQueue
from backendpool.k8s.resources import CHILD_RESOURCES, DEPLOYMENTS, ENDPOINT_SLICES, POOLS, SERVICES, Resource
from tests.fakes.api_server import ApiServer
from tests.fakes.logs import logged
from tests.fakes.objects import pool
from tests.fakes.until import until
from tests.unit.controller.operators import (
    NAME,
    SETTINGS,
    applied,
    awaited,
    figures,
    known,
    listed,
    operated,
    put_slice,
    shown,
    status,
)


async def test_nothing_is_written_before_everything_is_known(server: ApiServer, tmp_path: Path) -> None:
    """Until every first list is complete, the operator is not ready, says why, and writes nothing."""
    kinds = (ENDPOINT_SLICES, *CHILD_RESOURCES.values())
    server.held = {kind.path(): asyncio.Event() for kind in kinds}
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: "backendpool_pools 1.0" in figures(operator))
        for kind in kinds:
            await until(partial(server.watched, kind))
            assert f"{kind.plural} (listing)" in (operator.readiness_error() or "")
            assert server.writes == []
            server.held[kind.path()].set()
            await until(partial(known, operator, kind))
        await until(lambda: applied(server))
        await until(lambda: operator.readiness_error() is None)


async def test_endpoints_reach_the_status(server: ApiServer, tmp_path: Path) -> None:
    """The endpoints of the pool's Service reach the status within moments."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        put_slice(server, "10.0.0.1")
        await until(lambda: listed(server) == ["10.0.0.1"])
        put_slice(server, "10.0.0.2", "10.0.0.1")
        await until(lambda: listed(server) == ["10.0.0.1", "10.0.0.2"])


async def test_deleted_child_comes_back(server: ApiServer, tmp_path: Path) -> None:
    """A deleted child is recreated as soon as the watch reports it."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.remove("Deployment", "default", f"{NAME}-lookaside")
        await until(lambda: ("Deployment", "default", f"{NAME}-lookaside") in server.objects)


async def test_deleted_pool_gets_nothing_new(server: ApiServer, tmp_path: Path) -> None:
    """While Kubernetes deletes the children of a deleted pool, none is created again."""
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: applied(server))
        server.remove(KIND, "default", NAME)
        await until(lambda: "backendpool_pools 0.0" in figures(operator))
        server.writes.clear()
        for kind, name in server.children():
            server.remove(kind, "default", name)
        await asyncio.sleep(0.2)
        assert [write for write in server.writes if write[0] != "create"] == [], "events of before may still come"


async def test_pool_made_anew_is_served(server: ApiServer, tmp_path: Path) -> None:
    """A pool that is deleted and created again at once is served."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.remove(KIND, "default", NAME)
        server.put(pool(uid="recreated"))
        await until(lambda: applied(server))
        uid = server.objects[KIND, "default", NAME]["metadata"]["uid"]
        owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in server.children().values()}
        assert owners == {uid}


async def test_restart_writes_nothing(server: ApiServer, tmp_path: Path) -> None:
    """A second operator that finds everything up to date only reads."""
    async with server.connected(tmp_path) as api:
        async with operated(api):
            await until(lambda: applied(server))
            put_slice(server, "10.0.0.1")
            await until(lambda: listed(server) == ["10.0.0.1"])
        server.writes.clear()
        async with operated(api) as operator:
            await until(lambda: not operator.readiness_error())
            await until(lambda: 'backendpool_reconcile_seconds_count{outcome="requeue"}' in figures(operator))
            await asyncio.sleep(0.2)
    assert server.writes == []


async def test_outage_is_caught_up_with(server: ApiServer, tmp_path: Path) -> None:
    """Changes during an outage of the API server are handled soon after it."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        put_slice(server, "10.0.0.1")
        await until(lambda: listed(server) == ["10.0.0.1"])
        server.go_away()
        await until(lambda: server.refused > len(CHILD_RESOURCES))
        put_slice(server, "10.0.0.2")
        server.remove("Service", "default", f"{NAME}-lookaside")
        server.away = False
        await until(lambda: listed(server) == ["10.0.0.2"])
        await until(lambda: ("Service", "default", f"{NAME}-lookaside") in server.objects)


async def test_crd_may_come_late(server: ApiServer, tmp_path: Path) -> None:
    """An operator that starts before the CRD exists serves pools once it does."""
    server.unserved = {POOLS}
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: "grpcbackendpools (404 NotFound: the CRD" in (operator.readiness_error() or ""))
        server.unserved.clear()
        await until(lambda: applied(server))
        await until(lambda: operator.readiness_error() is None)


async def test_only_the_namespaces_asked_for_are_read(server: ApiServer, tmp_path: Path) -> None:
    """An operator with listed namespaces needs permissions only in these namespaces."""
    settings = OperatorSettings("backendpool/operator:test", namespaces=("default", "shop"), instance="operator-0")
    async with server.connected(tmp_path) as api, operated(api, settings):
        await until(lambda: applied(server))
    assert {namespace for _, namespace, _ in server.selected} == {"default", "shop"}


BOTH = OperatorSettings("backendpool/operator:test", namespaces=("default", "shop"), instance="operator-0")


async def test_namespace_that_may_not_be_read_holds_up_no_other(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A forbidden namespace delays no other, shows in log and metrics, and is served once it can be read."""
    server.put(pool(namespace="shop"))
    server.forbidden = {"shop"}
    async with server.connected(tmp_path) as api, operated(api, BOTH) as operator:
        await until(lambda: applied(server))
        await until(lambda: operator.readiness_error() is None)
        blind = 'backendpool_view_age_seconds{{resource="{}",watched_namespace="shop"}} +Inf'
        refused = 'backendpool_watch_failures_total{{error="Forbidden",resource="{}"}}'
        for kind in (POOLS, ENDPOINT_SLICES, *CHILD_RESOURCES.values()):
            assert shown(operator, blind.format(kind.plural))
            await until(partial(shown, operator, refused.format(kind.plural)))
        assert len(logged(caplog, "Watch failed, retrying", resource="services")) == 1
        assert len(logged(caplog, "Watch failed, retrying", resource="grpcbackendpools")) == 1
        assert not applied(server, "shop")
        server.forbidden.clear()
        await until(lambda: applied(server, "shop"))
        await until(lambda: "+Inf" not in figures(operator).replace('le="+Inf"', ""))


async def test_right_that_is_withdrawn_is_told_by_the_pools(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losing permission to watch slices sets EndpointsStale and keeps the lists; regaining it clears the condition."""
    monkeypatch.setattr(manager, "WATCH_FAILURE_TIMING", WatchFailureTiming(persistent_after=0.05, interval=0.02))

    def stale() -> bool:
        found = server.objects[(KIND, "default", "greetserver")].get("status", {}).get("conditions", ())
        return any(condition["reason"] == "EndpointsStale" for condition in found)

    async with server.connected(tmp_path) as api, operated(api, BOTH):
        await until(lambda: applied(server))
        server.forbidden = {"default"}
        server.go_away()
        await asyncio.sleep(0.05)
        server.away = False
        await until(stale)
        server.forbidden.clear()
        await until(lambda: not stale())


@pytest.mark.parametrize("kind", [POOLS, SERVICES, DEPLOYMENTS], ids=lambda kind: kind.plural)
async def test_kind_that_may_not_be_watched_any_more_is_told_by_the_pools(
    server: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: Resource,
) -> None:
    """Losing permission to watch a kind is reported by a condition, an event and one log line; pools stay ready."""
    monkeypatch.setattr(manager, "WATCH_FAILURE_TIMING", WatchFailureTiming(persistent_after=0.05, interval=0.02))
    server.put(pool(lookaside={"replicas": 0}))

    def told() -> dict[str, tuple[str, str]]:
        return {c["type"]: (c["status"], c["reason"]) for c in status(server).get("conditions", ())}

    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        put_slice(server, "10.0.0.1")
        await until(lambda: told()["Ready"] == ("True", "PoolReady"))
        server.unwatchable = {kind}
        server.go_away()
        await asyncio.sleep(0.05)
        server.away = False
        await until(lambda: told()["Reconciling"] == ("True", "WatchRefused"))
        assert told()["Ready"] == ("True", "PoolReady")
        await until(lambda: ("create", "Event", "WatchRefused") in server.writes)
        failures = logged(caplog, "Watch failed, retrying", resource=kind.plural)
        assert len([record for record in failures if "403" in str(getattr(record, "error", ""))]) == 1
        server.unwatchable.clear()
        await until(lambda: told()["Reconciling"] == ("False", "Applied"))


async def test_namespaces_of_which_none_may_be_read(server: ApiServer, tmp_path: Path) -> None:
    """An operator that can read no namespace is not ready and names the missing permission."""
    server.forbidden = {"default", "shop"}
    async with server.connected(tmp_path) as api, operated(api, BOTH) as operator:
        for text in ("default/services (403 Forbidden", "shop/grpcbackendpools (403 Forbidden"):
            await until(partial(awaited, operator, text))
        server.forbidden = {"shop"}
        await until(lambda: operator.readiness_error() is None)
        await until(lambda: applied(server))


@pytest.mark.parametrize("kind", [ENDPOINT_SLICES, *CHILD_RESOURCES.values()], ids=lambda kind: kind.plural)
async def test_nothing_is_written_in_a_namespace_before_it_is_known(
    server: ApiServer, tmp_path: Path, kind: Resource
) -> None:
    """While a list of one namespace is incomplete, its pools are not written, and other namespaces are served."""
    server.put(pool(namespace="shop"))
    server.held = {kind.path("shop"): asyncio.Event()}
    async with server.connected(tmp_path) as api, operated(api, BOTH) as operator:
        await until(lambda: applied(server) and "backendpool_pools 2.0" in figures(operator))
        server.put(pool(namespace="shop", port=50052))
        await asyncio.sleep(0.1)
        assert not status(server, "shop")
        assert {ref for ref in server.objects if ref[1] == "shop"} == {(KIND, "shop", NAME)}
        assert f"shop/{kind.plural} (listing)" in (operator.readiness_error() or "")
        server.held[kind.path("shop")].set()
        await until(lambda: applied(server, "shop"))


async def test_bug_concerns_one_pool_alone(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error about one pool is counted, logged once and reported in its status; other pools are served."""

    def broken(pool: Pool, image: str) -> tuple[Child, ...]:
        if pool.namespace == "shop":
            raise OverflowError("1e1000000")
        return desired.children(pool, image)

    monkeypatch.setattr(child_applier, "children", broken)
    server.put(pool(namespace="shop"))
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: 'backendpool_reconcile_seconds_count{outcome="error"}' in figures(operator))
        server.put(pool())
        await until(lambda: applied(server) and bool(status(server, "shop")))
        reasons = {one["type"]: one["reason"] for one in status(server, "shop")["conditions"]}
        assert reasons["Ready"] == reasons["Reconciling"] == "ReconcileError"
        assert ("create", "Event", "ReconcileError") in server.writes
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert tracebacks == logged(caplog, "Unexpected error, retrying with backoff", pool=f"shop/{NAME}")
    assert len(tracebacks) == 1


async def test_bug_in_a_handler_concerns_one_pool_alone(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error in the event handler is logged, and the next pool is served."""

    def broken(obj: dict[str, Any]) -> Pool:
        if obj["metadata"]["namespace"] == "shop":
            raise ZeroDivisionError
        return parse_pool(obj)

    monkeypatch.setattr(pool_informer, "parse_pool", broken)
    server.put(pool(namespace="shop"))
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: any(record.exc_info for record in caplog.records))
        server.put(pool())
        await until(lambda: applied(server))


async def test_bug_in_the_parser_is_told_and_retried(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error while parsing a spec is reported as ReconcileError, not as an invalid spec."""

    def broken(_: object) -> Never:
        raise ZeroDivisionError

    monkeypatch.setattr(pool_module, "parse_spec", broken)
    server.put(pool())
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: bool(status(server)))
        reasons = {one["type"]: one["reason"] for one in status(server)["conditions"]}
        assert (reasons["Ready"], reasons["Stalled"]) == ("ReconcileError", "NotStalled")
        await until(lambda: 'backendpool_reconcile_seconds_count{outcome="error"}' in figures(operator))


async def test_bug_of_the_machinery_ends_the_operator(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error outside of the work on a pool ends the process."""

    def broken(*_: object) -> Never:
        raise ZeroDivisionError

    monkeypatch.setattr(WorkQueue, "_begin", broken)
    server.put(pool())
    async with server.connected(tmp_path) as api:
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(Manager(api, SETTINGS).run(), 10)
    assert ended.group_contains(ZeroDivisionError)

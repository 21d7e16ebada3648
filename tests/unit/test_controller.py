"""The operator put together, against an API server on loopback."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from kubernetes.aio.config import kube_config
from prometheus_client import generate_latest

from backendpool import controller, handlers
from backendpool.cluster.api import Api
from backendpool.cluster.resources import DEPLOYMENTS, ENDPOINT_SLICES, POOLS, SERVICES, Resource
from backendpool.controller import Operator, until_told
from backendpool.election import Elector
from backendpool.errors import LeadershipLost, NotLeading
from backendpool.names import API_VERSION, BACKENDS, COMPONENT_LABEL, KIND, POOL_LABEL, SERVICE_NAME_LABEL
from backendpool.refusal import RefusalTiming
from backendpool.settings import OperatorSettings
from backendpool.writer import CHILDREN
from tests.unit.api_server import ApiServer
from tests.unit.pools import document

SETTINGS = OperatorSettings("backendpool/operator:test", instance="operator-0")
NAME = "greetserver"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    # It speaks plain HTTP, and to load the system's certificates takes each client longer than most tests.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture
def server() -> ApiServer:
    """An API server with one pool."""
    server = ApiServer()
    server.put(pool())
    return server


def pool(namespace: str = "default", **spec: Any) -> dict[str, Any]:
    made = document(**spec)
    made["metadata"]["namespace"] = namespace
    del made["metadata"]["uid"]
    return {"apiVersion": API_VERSION, "kind": KIND, **made}


def endpoint_slice(server: ApiServer, *addresses: str) -> dict[str, Any]:
    """What the cluster makes for the pool's Service."""
    service = server.objects["Service", "default", NAME]["metadata"]
    labels = {SERVICE_NAME_LABEL: NAME, POOL_LABEL: NAME, COMPONENT_LABEL: BACKENDS}
    owner = {"kind": "Service", "name": NAME, "uid": service["uid"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": "slice-1", "labels": labels, "ownerReferences": [owner]},
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": 50051}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


def status(server: ApiServer, namespace: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = server.objects[KIND, namespace, NAME].get("status", {})
    return found


def listed(server: ApiServer) -> list[str]:
    return [endpoint["address"] for endpoint in status(server).get("endpoints", ())]


def applied(server: ApiServer, namespace: str = "default") -> bool:
    conditions = status(server, namespace).get("conditions", ())
    return any(c["type"] == "Reconciling" and c["reason"] == "Applied" for c in conditions)


def figures(operator: Operator) -> str:
    return generate_latest(operator.registry).decode()


def shown(operator: Operator, text: str) -> bool:
    return text in figures(operator)


def awaited(operator: Operator, text: str) -> bool:
    return text in (operator.not_ready() or "")


def known(operator: Operator, kind: Resource) -> bool:
    return f"{kind.plural} (" not in (operator.not_ready() or "")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def operating(operator: Operator) -> AsyncIterator[None]:
    """Have the operator work while the context lasts."""
    task = asyncio.create_task(operator.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


@asynccontextmanager
async def operated(api: Api, settings: OperatorSettings = SETTINGS) -> AsyncIterator[Operator]:
    """An operator at work, alone."""
    operator = Operator(api, settings)
    async with operating(operator):
        yield operator


async def test_nothing_is_written_before_everything_is_known(server: ApiServer, tmp_path: Path) -> None:
    """Until each kind's first list is complete the operator is not ready, says why, and writes nothing."""
    kinds = (ENDPOINT_SLICES, *CHILDREN.values())
    server.held = {kind.path(): asyncio.Event() for kind in kinds}
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: "backendpool_pools 1.0" in figures(operator))
        for kind in kinds:
            await until(partial(server.watched, kind))
            assert f"{kind.plural} (listing)" in (operator.not_ready() or "")
            assert server.writes == []
            server.held[kind.path()].set()
            await until(partial(known, operator, kind))
        await until(lambda: applied(server))
        await until(lambda: operator.not_ready() is None)


async def test_endpoints_reach_the_status(server: ApiServer, tmp_path: Path) -> None:
    """What the cluster says of the pool's Service stands in the status moments later."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.put(endpoint_slice(server, "10.0.0.1"))
        await until(lambda: listed(server) == ["10.0.0.1"])
        server.put(endpoint_slice(server, "10.0.0.2", "10.0.0.1"))
        await until(lambda: listed(server) == ["10.0.0.1", "10.0.0.2"])


async def test_deleted_child_comes_back(server: ApiServer, tmp_path: Path) -> None:
    """Drift is seen by a watch, and repaired without anything else having to happen."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.remove("Deployment", "default", f"{NAME}-lookaside")
        await until(lambda: ("Deployment", "default", f"{NAME}-lookaside") in server.objects)


async def test_deleted_pool_gets_nothing_new(server: ApiServer, tmp_path: Path) -> None:
    """While the cluster collects the children of a deleted pool, none is made again."""
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
    """A pool that is deleted and made again at once, under its name, is not lost by the end of the old one."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.remove(KIND, "default", NAME)
        server.put(pool())
        await until(lambda: applied(server))
        uid = server.objects[KIND, "default", NAME]["metadata"]["uid"]
        owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in server.children().values()}
        assert owners == {uid}


async def test_restart_writes_nothing(server: ApiServer, tmp_path: Path) -> None:
    """A second operator that finds everything as it should be only reads."""
    async with server.connected(tmp_path) as api:
        async with operated(api):
            await until(lambda: applied(server))
            server.put(endpoint_slice(server, "10.0.0.1"))
            await until(lambda: listed(server) == ["10.0.0.1"])
        server.writes.clear()
        async with operated(api) as operator:
            await until(lambda: not operator.not_ready())
            await until(lambda: 'backendpool_reconcile_seconds_count{outcome="again"}' in figures(operator))
            await asyncio.sleep(0.2)
    assert server.writes == []


async def test_outage_is_caught_up_with(server: ApiServer, tmp_path: Path) -> None:
    """What changed while the API server was away is there soon after it is back; nothing was lost meanwhile."""
    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.put(endpoint_slice(server, "10.0.0.1"))
        await until(lambda: listed(server) == ["10.0.0.1"])
        server.go_away()
        await until(lambda: server.refused > len(CHILDREN))
        server.put(endpoint_slice(server, "10.0.0.2"))
        server.remove("Service", "default", f"{NAME}-lookaside")
        server.away = False
        await until(lambda: listed(server) == ["10.0.0.2"])
        await until(lambda: ("Service", "default", f"{NAME}-lookaside") in server.objects)


async def test_crd_may_come_late(server: ApiServer, tmp_path: Path) -> None:
    """An operator that was started before its CRD serves pools as soon as there can be any."""
    server.unserved = {POOLS}
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: "grpcbackendpools (404 NotFound: the CRD" in (operator.not_ready() or ""))
        server.unserved.clear()
        await until(lambda: applied(server))
        await until(lambda: operator.not_ready() is None)


async def test_only_the_namespaces_asked_for_are_read(server: ApiServer, tmp_path: Path) -> None:
    """With namespaces named, rights in these are enough."""
    settings = OperatorSettings("backendpool/operator:test", namespaces=("default", "shop"), instance="operator-0")
    async with server.connected(tmp_path) as api, operated(api, settings):
        await until(lambda: applied(server))
    assert {namespace for _, namespace, _ in server.selected} == {"default", "shop"}


BOTH = OperatorSettings("backendpool/operator:test", namespaces=("default", "shop"), instance="operator-0")


async def test_namespace_that_may_not_be_read_holds_up_no_other(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are served; it is told in log and metrics, and served as soon as it may be read."""
    server.put(pool(namespace="shop"))
    server.forbidden = {"shop"}
    async with server.connected(tmp_path) as api, operated(api, BOTH) as operator:
        await until(lambda: applied(server))
        await until(lambda: operator.not_ready() is None)
        blind = 'backendpool_view_age_seconds{{resource="{}",watched_namespace="shop"}} +Inf'
        refused = 'backendpool_watch_failures_total{{error="Forbidden",resource="{}"}}'
        for kind in (POOLS, ENDPOINT_SLICES, *CHILDREN.values()):
            assert shown(operator, blind.format(kind.plural))
            await until(partial(shown, operator, refused.format(kind.plural)))
        assert caplog.text.count("services cannot be watched") == 1
        assert caplog.text.count("grpcbackendpools cannot be watched") == 1
        assert not applied(server, "shop")
        server.forbidden.clear()
        await until(lambda: applied(server, "shop"))
        await until(lambda: "+Inf" not in figures(operator).replace('le="+Inf"', ""))


async def test_right_that_is_withdrawn_is_told_by_the_pools(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their lists stand, as what may be old; that they are followed again is told as well."""
    monkeypatch.setattr(controller, "REFUSALS", RefusalTiming(lasted=0.05, interval=0.02))

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
    """Also where it may be listed: in a condition, an event and one line of the log, and they stay ready."""
    monkeypatch.setattr(controller, "REFUSALS", RefusalTiming(lasted=0.05, interval=0.02))
    server.put(pool(lookaside={"replicas": 0}))

    def told() -> dict[str, tuple[str, str]]:
        return {c["type"]: (c["status"], c["reason"]) for c in status(server).get("conditions", ())}

    async with server.connected(tmp_path) as api, operated(api):
        await until(lambda: applied(server))
        server.put(endpoint_slice(server, "10.0.0.1"))
        await until(lambda: told()["Ready"] == ("True", "PoolReady"))
        server.unwatchable = {kind}
        server.go_away()
        await asyncio.sleep(0.05)
        server.away = False
        await until(lambda: told()["Reconciling"] == ("True", "WatchRefused"))
        assert told()["Ready"] == ("True", "PoolReady")
        await until(lambda: ("create", "Event", "WatchRefused") in server.writes)
        assert caplog.text.count(f"{kind.plural} cannot be watched, trying again: 403") == 1
        server.unwatchable.clear()
        await until(lambda: told()["Reconciling"] == ("False", "Applied"))


async def test_namespaces_of_which_none_may_be_read(server: ApiServer, tmp_path: Path) -> None:
    """An operator that can serve nobody is not ready, and says what it is refused."""
    server.forbidden = {"default", "shop"}
    async with server.connected(tmp_path) as api, operated(api, BOTH) as operator:
        for text in ("default/services (403 Forbidden", "shop/grpcbackendpools (403 Forbidden"):
            await until(partial(awaited, operator, text))
        server.forbidden = {"shop"}
        await until(lambda: operator.not_ready() is None)
        await until(lambda: applied(server))


@pytest.mark.parametrize("kind", [ENDPOINT_SLICES, *CHILDREN.values()], ids=lambda kind: kind.plural)
async def test_nothing_is_written_in_a_namespace_before_it_is_known(
    server: ApiServer, tmp_path: Path, kind: Resource
) -> None:
    """While one list of a namespace is not complete its pools are left as they are, though others are served."""
    server.put(pool(namespace="shop"))
    server.held = {kind.path("shop"): asyncio.Event()}
    async with server.connected(tmp_path) as api, operated(api, BOTH) as operator:
        await until(lambda: applied(server) and "backendpool_pools 2.0" in figures(operator))
        server.put(pool(namespace="shop", port=50052))
        await asyncio.sleep(0.1)
        assert not status(server, "shop")
        assert {ref for ref in server.objects if ref[1] == "shop"} == {(KIND, "shop", NAME)}
        assert f"shop/{kind.plural} (listing)" in (operator.not_ready() or "")
        server.held[kind.path("shop")].set()
        await until(lambda: applied(server, "shop"))


async def test_bug_ends_the_operator(server: ApiServer, tmp_path: Path) -> None:
    """An error that nobody foresaw, in whichever task, ends the whole, instead of leaving a half of it."""
    server.put(pool() | {"status": {"conditions": [{"not": "a condition"}]}})
    async with server.connected(tmp_path) as api:
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(Operator(api, SETTINGS).run(), 10)
    assert ended.group_contains(KeyError)


async def test_bug_in_a_handler_ends_the_operator(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kopf logs what a handler raises and goes on: a bug in ours must not leave a pool unnoticed."""

    def broken(obj: dict[str, Any]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(handlers, "parse_pool", broken)
    async with server.connected(tmp_path) as api:
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(Operator(api, SETTINGS).run(), 10)
    assert ended.group_contains(ZeroDivisionError)


class Candidate:
    """Stands in for the elector: wins when ``won`` is set, loses when ``lost`` is."""

    def __init__(self) -> None:
        self.won, self.lost, self.released = asyncio.Event(), asyncio.Event(), False

    @property
    def leading(self) -> bool:
        return self.won.is_set() and not self.lost.is_set()

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def win(self) -> None:
        await self.won.wait()

    async def hold(self) -> None:
        await self.lost.wait()
        raise LeadershipLost("somebody else has the Lease")

    async def release(self) -> None:
        self.released = True


async def test_standby_is_ready_and_writes_nothing(server: ApiServer, tmp_path: Path) -> None:
    """One that does not lead knows everything already, and starts to write as soon as it does."""
    candidate = Candidate()
    async with server.connected(tmp_path) as api:
        operator = Operator(api, SETTINGS, cast("Elector", candidate))
        async with operating(operator):
            await until(lambda: not operator.not_ready() and "backendpool_pools 1.0" in figures(operator))
            assert "backendpool_leader 0.0" in figures(operator)
            assert server.writes == []
            candidate.won.set()
            await until(lambda: applied(server))
            assert "backendpool_leader 1.0" in figures(operator)
    assert candidate.released, "so that another can take over at once"


async def test_standby_has_nothing_due(server: ApiServer, tmp_path: Path) -> None:
    """Its metrics are not those of an operator that lags behind, nor are they when it has just taken over."""
    candidate = Candidate()
    async with server.connected(tmp_path) as api:
        operator = Operator(api, SETTINGS, cast("Elector", candidate))
        async with operating(operator):
            await until(lambda: not operator.not_ready() and "backendpool_pools 1.0" in figures(operator))
            server.put(pool(port=50052))
            await asyncio.sleep(0.5)
            assert "backendpool_queue_depth 0.0" in figures(operator)
            candidate.won.set()
            await until(lambda: applied(server))
            waited = operator.registry.get_sample_value("backendpool_queue_wait_seconds_sum")
    assert waited is not None
    assert waited < 0.5


async def test_lost_lease_ends_the_operator(server: ApiServer, tmp_path: Path) -> None:
    """It is no bug: the error comes up by itself, to be told in one line."""
    candidate = Candidate()
    candidate.won.set()
    async with server.connected(tmp_path) as api:
        working = asyncio.create_task(Operator(api, SETTINGS, cast("Elector", candidate)).run())
        await until(lambda: applied(server))
        candidate.lost.set()
        with pytest.raises(LeadershipLost, match="somebody else has the Lease"):
            await asyncio.wait_for(working, 10)


async def test_writes_pass_the_fence_of_the_lease(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator as it is run: whoever leads without the right to write sends nothing but for the Lease."""
    refused = 0

    def refuse(elector: Elector) -> None:
        nonlocal refused
        refused += 1
        raise NotLeading("another leads")

    def lease() -> dict[str, Any]:
        return cast("dict[str, Any]", server.objects["Lease", "ops", controller.LEASE]["spec"])

    with monkeypatch.context() as closed:
        closed.setattr(Elector, "check", refuse)
        async with as_run(server, tmp_path, monkeypatch, lease_namespace="ops"):
            await until(lambda: refused)
            assert lease()["holderIdentity"].startswith(SETTINGS.instance)
            assert {kind for _, kind, _ in server.writes} == {"Lease"}
            closed.undo()
            await until(lambda: applied(server))
    assert lease()["holderIdentity"] == ""


async def test_run_that_hangs_is_told_by_healthz(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands still for longer than it ever should has the cluster start the process anew."""
    monkeypatch.setattr(controller, "LONGEST_RUN", 0.2)
    create, hangs, free = server.create, asyncio.Event(), asyncio.Event()

    async def late(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        hangs.set()
        await free.wait()
        return await create(resource, obj)

    monkeypatch.setattr(server, "create", late)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    url = f"http://127.0.0.1:{port}/healthz"
    async with as_run(server, tmp_path, monkeypatch, metrics_port=port), aiohttp.ClientSession() as session:
        await asyncio.wait_for(hangs.wait(), 10)
        async with session.get(url) as response:
            assert response.status == 200
        await asyncio.sleep(0.3)
        async with session.get(url) as response:
            assert (response.status, await response.text()) == (503, "a pool has been worked on for 0 s\n")
        free.set()


async def test_thread_of_kopf_that_hangs_is_told(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be ended from outside, so that no new watch on the pools could be begun."""
    monkeypatch.setattr(controller, "LONGEST_SILENCE", 0.1)
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: applied(server))
        assert operator.hangs() is None
        loop, free = operator._pools.thread._loop, threading.Event()
        assert loop is not None
        loop.call_soon_threadsafe(free.wait, 10)
        await until(lambda: operator.hangs() == "the thread that watches pools has given no sign of life for 0 s")
        free.set()
        await until(lambda: operator.hangs() is None)


async def test_garbage_is_not_looked_for_in_what_stays(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, when all is known."""
    frozen: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(None))
    server.held = {DEPLOYMENTS.path(): asyncio.Event()}
    async with as_run(server, tmp_path, monkeypatch):
        await until(lambda: server.watched(DEPLOYMENTS))
        await asyncio.sleep(1.1)
        assert not frozen
        server.held[DEPLOYMENTS.path()].set()
        await until(lambda: frozen)
        await asyncio.sleep(1.1)
    assert len(frozen) == 1


async def test_outage_is_no_hanging(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator whose API server is away is not ended for that, however long it is."""
    monkeypatch.setattr(controller, "LONGEST_SILENCE", 0.5)
    monkeypatch.setattr(controller, "LONGEST_RUN", 0.5)
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: applied(server))
        server.go_away()
        for _ in range(20):
            await asyncio.sleep(0.1)
            assert operator.hangs() is None


@asynccontextmanager
async def as_run(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[None]:
    """The operator as the command runs it, with another's settings; asked to end with the context."""
    async with server.serving(folder) as kubeconfig:
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        running = asyncio.create_task(controller.run(replace(SETTINGS, **{"metrics_port": 0, **settings})))
        try:
            yield
        finally:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(running, 10)


@asynccontextmanager
async def process(kubeconfig: Path, port: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    """The operator as a pod runs it."""
    env = os.environ | {"KUBECONFIG": str(kubeconfig), "LOOKASIDE_IMAGE": "x", "METRICS_PORT": str(port)}
    command = (sys.executable, "-c", "import sys; from backendpool.cli import main; sys.exit(main(['operator']))")
    started = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def test_sigterm_ends_it_cleanly_and_soon(server: ApiServer, tmp_path: Path) -> None:
    """Ready when all is known; asked to end it is gone within a second or so, with exit code 0 and no traceback."""
    server.held = {DEPLOYMENTS.path(): asyncio.Event()}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def is_ready() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200

    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig, port) as operator:
        await until(lambda: server.watched(DEPLOYMENTS))
        assert not await is_ready()
        server.held[DEPLOYMENTS.path()].set()
        await until(lambda: applied(server))
        async with asyncio.timeout(10):
            while not await is_ready():
                await asyncio.sleep(0.05)
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            _, log = await operator.communicate()
    assert operator.returncode == 0
    assert b"Traceback" not in log
    assert b"ERROR" not in log


async def test_second_signal_does_not_cut_the_end_short() -> None:
    """Who presses Ctrl-C twice still gives the Lease back."""
    begun, end, ended = asyncio.Event(), asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await end.wait()
            ended = True

    telling = asyncio.create_task(until_told(work()))
    await begun.wait()
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.01)
    end.set()
    await telling
    assert ended


async def test_sigterm_is_heard_while_the_api_server_is_away(server: ApiServer, tmp_path: Path) -> None:
    """An operator that waits for its API server does not wait to end."""
    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig) as operator:
        server.away = True
        await until(lambda: server.refused > len(CHILDREN))
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            await operator.communicate()
    assert operator.returncode == 0


async def test_bug_ends_the_process_with_a_traceback(server: ApiServer, tmp_path: Path) -> None:
    """Exit code 1 and the place of the bug: what the cluster restarts and a person can report."""
    server.put(pool() | {"status": {"conditions": [{"not": "a condition"}]}})
    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig) as operator:
        async with asyncio.timeout(10):
            _, log = await operator.communicate()
    assert operator.returncode == 1
    assert b"KeyError" in log
    assert b"Traceback" in log
    assert b"reconcile.py" in log

"""The balancer with real servers: shares, changes of the set, failed connections."""

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from grpc.aio import AioRpcError

from backendpool.api.endpoints import Endpoint, EndpointSet
from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing, Policy
from backendpool.api.pool import PoolView
from backendpool.client._balancer import Balancer
from backendpool.client._subchannel import target_uri
from backendpool.errors import NoBackendError
from tests.fakes.logs import logged
from tests.fakes.objects import pool_view
from tests.unit.client.pods import (
    ask,
    balancing,
    call,
    dead_endpoint,
    initialized,
    pods,
    silent_endpoint,
)


async def shares(balancer: Balancer, calls: int) -> Counter[str]:
    return Counter([await call(balancer) for _ in range(calls)])


async def until_shares(balancer: Balancer, names: set[str]) -> None:
    """Call until exactly these backends answer; a call may meet a connection that is just being lost."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(AioRpcError):
                if (await shares(balancer, 2 * len(names))).keys() == names:
                    return
            await asyncio.sleep(0.01)


async def test_calls_are_spread_exactly() -> None:
    """Sequential calls are spread exactly by round robin."""
    async with pods("a", "b", "c") as (a, b, c), balancing(a.endpoint, b.endpoint, c.endpoint) as balancer:
        assert await shares(balancer, 300) == {"a": 100, "b": 100, "c": 100}


async def test_each_backend_has_one_connection() -> None:
    """A backend sees one connection, however many calls are concurrent."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        await asyncio.gather(*(call(balancer) for _ in range(50)))
        assert (len(a.peers), len(b.peers)) == (1, 1)


async def test_change_keeps_the_connections_of_those_that_stay() -> None:
    """Backends that stay keep their connections when others come and go."""
    async with pods("a", "b", "c") as (a, b, c), balancing(a.endpoint, b.endpoint) as balancer:
        await shares(balancer, 2)
        before = {backend.endpoint.identity: backend.channel for backend in balancer.subchannels}
        balancer.update(pool_view(a.endpoint, c.endpoint))
        await until_shares(balancer, {"a", "c"})
        after = {backend.endpoint.identity: backend.channel for backend in balancer.subchannels}
        assert after[a.endpoint.identity] is before[a.endpoint.identity]
        assert len(a.peers) == 1


async def test_same_address_in_another_pod_is_another_backend() -> None:
    """An address that moves to another pod gets a new connection."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        (before,) = balancer.subchannels
        a.name = "next"
        balancer.update(pool_view(a.endpoint))
        assert await call(balancer) == "next"
        (after,) = balancer.subchannels
        assert after is not before


async def test_new_backend_takes_calls_once_connected() -> None:
    """While a new backend connects, the others take all calls, and none fails."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint) as balancer, silent_endpoint() as silent:
        balancer.update(pool_view(a.endpoint, silent))
        assert await shares(balancer, 20) == {"a": 20}
        balancer.update(pool_view(a.endpoint, b.endpoint, silent))
        await until_shares(balancer, {"a", "b"})


async def test_calls_under_way_finish_on_a_backend_that_left() -> None:
    """A removed backend gets no new calls, and calls in flight finish."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint) as balancer:
        a.held = asyncio.Event()
        under_way = asyncio.create_task(call(balancer))
        await a.called.wait()
        balancer.update(pool_view(b.endpoint))
        assert await shares(balancer, 10) == {"b": 10}
        a.held.set()
        assert await under_way == "a"


async def test_calls_under_way_are_cut_after_the_grace() -> None:
    """Calls that outlast the drain timeout are cut."""
    async with pods("a") as (a,), balancing(a.endpoint, grace=0.05) as balancer:
        a.held = asyncio.Event()
        under_way = asyncio.create_task(call(balancer))
        await a.called.wait()
        balancer.update(pool_view())
        with pytest.raises(asyncio.CancelledError):
            await under_way


async def test_closing_waits_for_calls_under_way() -> None:
    """aclose returns when the last call is done."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        a.held = asyncio.Event()
        under_way = asyncio.create_task(call(balancer))
        await a.called.wait()
        closing = asyncio.create_task(balancer.aclose())
        await asyncio.sleep(0.05)
        assert not closing.done()
        a.held.set()
        await closing
        assert await under_way == "a"


async def test_backend_that_cannot_be_connected_to_is_skipped() -> None:
    """An unreachable address fails no call."""
    async with pods("a", "b") as (a, b), dead_endpoint() as dead, balancing(a.endpoint, b.endpoint, dead) as balancer:
        assert await shares(balancer, 20) == {"a": 10, "b": 10}


async def test_backend_that_comes_back_takes_calls_again() -> None:
    """A restarted server is reconnected and takes calls again."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        await a.stop()
        await until_shares(balancer, {"b"})
        await a.start()
        await until_shares(balancer, {"a", "b"})


async def test_fails_at_once_when_no_backend_can_be_connected_to() -> None:
    """If no backend can be reached, calls fail at once and name the addresses."""
    async with dead_endpoint() as dead, balancing(dead) as balancer:
        async with asyncio.timeout(1):
            with pytest.raises(NoBackendError, match=f"none of the 1 backends of ns/who .*{dead.target}.*check"):
                await balancer.pick(30)


async def test_pick_waits_for_the_pool_to_be_known() -> None:
    """A call before the first list waits for it."""
    async with pods("a") as (a,), balancing() as balancer:
        early = asyncio.create_task(call(balancer))
        await asyncio.sleep(0.02)
        assert not early.done()
        balancer.update(pool_view(a.endpoint))
        assert await early == "a"


async def test_pick_waits_no_longer_than_its_deadline() -> None:
    """Waiting for an unknown pool ends at the deadline, with what it waited for."""
    async with balancing() as balancer:
        with pytest.raises(NoBackendError, match=r"ns/who: still without a list of its endpoints after 0\.02 s"):
            await balancer.pick(0.02)


async def test_pick_waits_for_a_connection_no_longer_than_its_deadline() -> None:
    """Waiting for a server that accepts connections and sends nothing ends at the deadline."""
    async with silent_endpoint() as silent, balancing() as balancer:
        balancer.update(pool_view(silent))
        with pytest.raises(NoBackendError, match=r"ns/who: still connecting to its backends after 0\.05 s"):
            await balancer.pick(0.05)


async def test_those_who_wait_learn_of_failure() -> None:
    """A waiting pick fails as soon as the last backend fails."""
    async with dead_endpoint() as dead, balancing() as balancer:
        early = asyncio.create_task(balancer.pick(30))
        await asyncio.sleep(0)
        balancer.update(pool_view(dead))
        async with asyncio.timeout(5):
            with pytest.raises(NoBackendError, match="accepts a connection"):
                await early


async def test_empty_pool_fails_calls() -> None:
    """With emptyPolicy Fail, calls to an empty pool fail with a hint."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        balancer.update(pool_view())
        with pytest.raises(NoBackendError, match="ns/who has no endpoint: see kubectl describe gbp who -n ns"):
            await balancer.pick(30)


async def test_missing_pool_fails_calls() -> None:
    """The error of a missing pool differs from that of an empty one."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        balancer.update(None)
        with pytest.raises(NoBackendError, match="there is no pool ns/who that may be read: apply"):
            await balancer.pick(30)


@pytest.mark.parametrize("gone", [True, False])
async def test_keep_last_keeps_the_last_endpoints(gone: bool) -> None:
    """With emptyPolicy KeepLast, calls continue to the last endpoints, even if the pool is deleted."""
    keep_last = LoadBalancing(empty_policy=EmptyPolicy.KEEP_LAST)
    async with pods("a", "b") as (a, b), balancing() as balancer:
        balancer.update(pool_view(a.endpoint, b.endpoint, balancing=keep_last))
        await initialized(balancer)
        before = balancer.subchannels
        for _ in range(2):
            balancer.update(None if gone else pool_view(balancing=keep_last))
            assert await shares(balancer, 10) == {"a": 5, "b": 5}
            assert balancer.subchannels == before
        balancer.update(pool_view(b.endpoint, balancing=keep_last))
        assert await shares(balancer, 10) == {"b": 10}


async def test_draining_backend_gets_no_new_calls() -> None:
    """A draining backend gets no new calls, and keeps its connection and calls in flight."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        a.held = asyncio.Event()
        under_way = [asyncio.create_task(call(balancer)) for _ in range(2)]
        await a.called.wait()
        balancer.update(pool_view(a.draining, b.endpoint))
        assert await shares(balancer, 10) == {"b": 10}
        a.held.set()
        assert {await task for task in under_way} == {"a", "b"}


async def test_draining_backend_is_used_where_nothing_is_ready() -> None:
    """Draining backends are used if none is ready."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint) as balancer:
        balancer.update(pool_view(a.draining))
        assert await call(balancer) == "a"
        balancer.update(pool_view(a.draining, dead))
        assert await call(balancer) == "a"


async def test_ready_backend_is_waited_for_rather_than_draining_ones_used() -> None:
    """A ready backend that is connecting is preferred to draining ones."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint) as balancer:
        balancer.update(pool_view(a.draining, b.endpoint))
        assert await shares(balancer, 5) == {"b": 5}


async def test_random_policy_is_followed() -> None:
    """A change of policy applies to existing connections."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        before = balancer.subchannels
        balancer.update(pool_view(a.endpoint, b.endpoint, balancing=LoadBalancing(Policy.RANDOM)))
        answers = [await call(balancer) for _ in range(100)]
        assert balancer.subchannels == before
        assert set(answers) == {"a", "b"}
        assert any(one == next_ for one, next_ in pairwise(answers))


async def test_avoided_backend_is_not_picked_again() -> None:
    """A retry goes to another backend if there is one."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        first = await balancer.pick(1)
        assert {await ask(await balancer.pick(1, avoid=[first])) for _ in range(5)} == {"a", "b"} - {await ask(first)}
        balancer.update(pool_view(first.endpoint))
        assert await balancer.pick(1, avoid=[first]) is first


async def test_silent_backend_is_picked_again_when_its_new_connection_is_up() -> None:
    """A reconnected backend gets its share again, and calls on the old connection finish."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        a.held = asyncio.Event()
        silent = next(backend for backend in balancer.subchannels if backend.endpoint == a.endpoint)
        under_way = asyncio.create_task(ask(silent))
        await a.called.wait()
        balancer.reconnect(silent)
        balancer.reconnect(silent)
        assert {(await balancer.pick(1)).endpoint for _ in range(4)} == {b.endpoint}
        a.held.set()
        await until_shares(balancer, {"a", "b"})
        assert await under_way == "a"
        assert len(a.peers) == 2


async def test_settled_once_every_backend_was_tried() -> None:
    """The balancer is initialized once every backend was tried, and stays so."""
    async with pods("a") as (a,), silent_endpoint() as silent, balancing() as balancer:
        balancer.update(pool_view(a.endpoint, silent))
        assert await call(balancer) == "a"
        assert not balancer.initialized
        balancer.update(pool_view(a.endpoint))
        assert balancer.initialized
        balancer.update(pool_view(a.endpoint, silent))
        assert balancer.initialized


async def test_missing_pool_settles() -> None:
    """A missing pool initializes the balancer too."""
    async with balancing() as balancer:
        assert not balancer.initialized
        balancer.update(None)
        assert balancer.initialized


async def test_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Backends that are added, connected, draining and removed are logged, with the pod as a field."""
    caplog.set_level(logging.DEBUG, "backendpool.client")
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        balancer.update(pool_view(a.draining))
        balancer.update(pool_view())
    told = [record for record in caplog.records if getattr(record, "pod", None) == "a"]
    fields = f"pool=ns/who backend={a.endpoint.target} pod=a state"
    assert [record.getMessage() for record in told] == [
        f"Added a backend {fields}=Ready",
        f"Connection to a backend changed {fields}=Ready connection=connected",
        f"Backend changed its state {fields}=Draining",
        f"Removed a backend {fields}=Draining",
    ]


async def test_endpoints_beyond_the_list_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning is logged each time the pool outgrows the list of endpoints in its status."""
    async with pods("a", "b") as (a, b), balancing() as balancer:
        for cut, times in (([a], 1), ([a, b], 1), ([], 1), ([b], 2)):
            listed = EndpointSet.of(pod.endpoint for pod in cut or [a, b])
            balancer.update(PoolView(replace(listed, truncated=bool(cut))))
            assert [record.levelname for record in caplog.records] == ["WARNING"] * times
    assert logged(caplog, "Pool has more endpoints than its status lists, calling only the listed ones", endpoints=1)


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [(Endpoint("192.0.2.1", 80), "ipv4:192.0.2.1:80"), (Endpoint("2001:db8::1", 80), "ipv6:[2001:db8::1]:80")],
)
def test_address_is_dialled_as_it_is(endpoint: Endpoint, target: str) -> None:
    """IPv4 and IPv6 addresses are passed to gRPC in its literal syntax, which needs no resolver."""
    assert target_uri(endpoint) == target

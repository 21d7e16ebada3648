"""The fence around writes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from backendpool import errors
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS, SERVICES
from tests.fakes.until import until
from tests.unit.k8s.scripted import POOL, ScriptedServer, answer, hang, refuse, thing


@contextmanager
def noting(into: list[str]) -> Iterator[None]:
    """Return a fence that records the writes and how they ended."""
    into.append("sent")
    try:
        yield
    except BaseException:
        into.append("lost")
        raise
    into.append("answered")


WRITES: dict[str, Callable[[Api], Awaitable[object]]] = {
    "create": lambda api: api.create(SERVICES, thing("greet")),
    "apply": lambda api: api.apply(SERVICES, thing("greet")),
    "replace": lambda api: api.replace(SERVICES, thing("greet")),
    "replace_status": lambda api: api.replace_status(POOLS, thing("greet")),
    "delete": lambda api: api.delete(SERVICES, "ns", "greet", uid="u-1"),
}


@pytest.mark.parametrize("write", WRITES)
async def test_every_write_passes_the_fence(server: ScriptedServer, tmp_path: Path, write: str) -> None:
    """Every write passes the fence and leaves it with its response or rejection; reads do not pass it."""
    passed: list[str] = []
    kubeconfig = server.kubeconfig(tmp_path, {})
    async with await Api.connect(kubeconfig, fence=partial(noting, passed)) as api:
        server.script(answer(POOL), answer(POOL), refuse(409, "Conflict"))
        await api.get(POOLS, "ns", "greet")
        assert passed == []
        await WRITES[write](api)
        with pytest.raises(errors.Conflict):
            await WRITES[write](api)
    assert passed == ["sent", "answered"] * 2


@pytest.mark.parametrize("write", WRITES)
async def test_nothing_is_sent_past_a_closed_fence(server: ScriptedServer, tmp_path: Path, write: str) -> None:
    """If the fence raises, nothing is sent."""

    @contextmanager
    def closed() -> Iterator[None]:
        raise errors.NotLeading("another leads")
        yield

    async with await Api.connect(server.kubeconfig(tmp_path, {}), fence=closed) as api:
        with pytest.raises(errors.NotLeading):
            await WRITES[write](api)
    assert (server.requests, api.requests) == ([], {})


async def test_write_without_an_answer_is_told_to_the_fence(server: ScriptedServer, tmp_path: Path) -> None:
    """The fence sees a write that timed out or was cancelled, since it may still arrive."""
    passed: list[str] = []
    kubeconfig = server.kubeconfig(tmp_path, {})
    async with await Api.connect(kubeconfig, timeout=0.2, fence=partial(noting, passed)) as api:
        server.script(hang, hang)
        with pytest.raises(errors.Unreachable):
            await api.apply(SERVICES, thing("greet"))
        writing = asyncio.create_task(api.apply(SERVICES, thing("greet")))
        await until(lambda: len(server.requests) == 2)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert passed == ["sent", "lost"] * 2

"""From a target to its resolver, and the extras that it needs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import PoolView
from backendpool.client._resolvers import resolver_for
from backendpool.client._resolvers.file import FileResolver
from backendpool.client._resolvers.iterator import IteratorResolver
from backendpool.client._resolvers.lookaside import LookasideResolver
from backendpool.client._resolvers.pool import PoolResolver
from backendpool.errors import SettingsError, TargetError
from tests.fakes.until import until
from tests.unit.k8s.scripted import ScriptedServer

HEAVY = ("kubernetes", "kopf", "aiohttp", "yaml")

IMPORTS = """
import sys, backendpool.client
from backendpool.client._resolvers import resolver_for
for target in ("lookaside://localhost/ns/who", "file:///pool.json"):
    resolver_for(target, print)
print([name for name in {heavy} if name in sys.modules])
"""

IN_WHICH_THREAD = """
import asyncio, sys, threading
from backendpool.client import connect

in_loop = {{}}

class Finder:
    def find_spec(name, path, target=None):
        if name in {heavy}:
            in_loop[name] = threading.current_thread() is threading.main_thread()

sys.meta_path.insert(0, Finder)

async def main():
    async with connect("pool:///ns/who") as channel:
        at_once = [name for name in {heavy} if name in sys.modules]
        while channel.status().problem is None:
            await channel.wait_for_change()
    print(at_once, in_loop)

asyncio.run(main())
"""

IN_BASE_INSTALL = """
import sys
sys.modules.update(dict.fromkeys({heavy}))
from backendpool.client._resolvers import resolver_for
try:
    resolver_for("{target}", print)
except Exception as error:
    print(type(error).__name__, error)
"""


def ignore(view: PoolView | None) -> None:
    pass


async def nothing() -> AsyncIterator[EndpointSet]:
    return
    yield


def printed(program: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def test_target_names_its_source() -> None:
    """The scheme selects the resolver; an iterator is used as it is."""
    async with (
        resolver_for("lookaside://localhost/ns/who", ignore) as lookaside,
        resolver_for("file:///pool.yaml", ignore) as file,
        resolver_for(nothing(), ignore) as iterator,
    ):
        assert isinstance(lookaside, LookasideResolver)
        assert isinstance(file, FileResolver)
        assert isinstance(iterator, IteratorResolver)


@pytest.mark.parametrize(("target", "namespace"), [("pool:///shop/who", "shop"), ("pool:///who", "default")])
async def test_pool_is_followed_out_of_the_cluster(
    target: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside a cluster, the kubeconfig is used, and its context's namespace is the default."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    server = ScriptedServer()
    async with server.serving():
        path = server.kubeconfig(tmp_path, {"token": "mine"})
        monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", path)
        async with resolver_for(target, ignore) as source:
            assert isinstance(source, PoolResolver)
            following = asyncio.create_task(source.run())
            await until(lambda: server.requests)
            following.cancel()
            await asyncio.wait([following])
    assert f"/namespaces/{namespace}/grpcbackendpools" in server.requests[0].path


async def test_no_cluster_is_said_as_it_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cluster, the error says what to do."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    source = resolver_for("pool:///who", ignore)
    with pytest.raises(SettingsError, match="run in a pod with a service account, or set KUBECONFIG"):
        async with source:
            pass


def test_wrong_target_is_refused_at_once() -> None:
    """An invalid target raises at once, before anything starts."""
    with pytest.raises(TargetError):
        resolver_for("greetserver", ignore)


def test_light_sources_import_nothing_heavy() -> None:
    """Resolvers of lookasides and files import nothing beyond the base install."""
    assert printed(IMPORTS.format(heavy=HEAVY)) == "[]"


def test_heavy_source_is_imported_off_the_event_loop(tmp_path: Path) -> None:
    """The Kubernetes client is imported in a thread, so the event loop is not blocked."""
    said = printed(IN_WHICH_THREAD.format(heavy=("aiohttp", "kubernetes")), KUBECONFIG=str(tmp_path / "absent"))
    assert said == "[] {'aiohttp': False, 'kubernetes': False}"


@pytest.mark.parametrize(("target", "extra"), [("pool:///ns/who", "status"), ("file:///pool.yaml", "yaml")])
def test_missing_extra_is_named(target: str, extra: str) -> None:
    """A missing extra raises at once, with what to install."""
    said = printed(IN_BASE_INSTALL.format(heavy=HEAVY, target=target))
    assert said.startswith("SettingsError ")
    assert said.endswith(f" is not installed: pip install 'backendpool[{extra}]'")

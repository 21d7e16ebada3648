"""Connection settings of a kubeconfig, over real connections."""

import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backendpool.errors import Unreachable
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from tests.unit.k8s.scripted import POOL, ScriptedServer, answer
from tools.certificates import Authority

NAME = "kubernetes.example"
"""Whom the server's certificate is for. It is reached by its address, as through a tunnel."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Mapping[str, Path]:
    """Return certificates by the kubeconfig's field names; the server's are also the client's."""
    chain, key = authority.issue(NAME)
    files = {"client-certificate": authority.folder / "tls.crt", "client-key": authority.folder / "tls.key"}
    files["client-certificate"].write_bytes(chain)
    files["client-key"].write_bytes(key)
    return {"certificate-authority": authority.folder / "ca.crt", **files}


@pytest_asyncio.fixture
async def tls_server(certificates: Mapping[str, Path]) -> AsyncIterator[ScriptedServer]:
    """Serve TLS and require client certificates."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates["certificate-authority"])
    context.load_cert_chain(certificates["client-certificate"], certificates["client-key"])
    context.verify_mode = ssl.CERT_REQUIRED
    server = ScriptedServer()
    server.script(answer(POOL))
    async with server.serving(context):
        yield server


@pytest.fixture
def user(certificates: Mapping[str, Path]) -> dict[str, Any]:
    return {name: str(certificates[name]) for name in ("client-certificate", "client-key")}


async def test_certificates_of_both_sides_and_the_servers_name(
    tls_server: ScriptedServer, certificates: Mapping[str, Path], user: dict[str, Any], tmp_path: Path
) -> None:
    """CA, client certificate and server name of the kubeconfig are used."""
    cluster = {"certificate-authority": str(certificates["certificate-authority"]), "tls-server-name": NAME}
    async with await Api.connect(tls_server.kubeconfig(tmp_path, user, **cluster)) as api:
        assert await api.get(POOLS, "ns", "greet") == POOL


@pytest.mark.parametrize("name", ["", "other.example"])
async def test_server_of_another_name_is_refused(
    name: str, tls_server: ScriptedServer, certificates: Mapping[str, Path], user: dict[str, Any], tmp_path: Path
) -> None:
    """A server certificate for another name is rejected."""
    cluster = {"certificate-authority": str(certificates["certificate-authority"])}
    if name:
        cluster["tls-server-name"] = name
    async with await Api.connect(tls_server.kubeconfig(tmp_path, user, **cluster)) as api:
        with pytest.raises(Unreachable, match="certificate"):
            await api.get(POOLS, "ns", "greet")


async def test_verification_can_be_left_out(tls_server: ScriptedServer, user: dict[str, Any], tmp_path: Path) -> None:
    """insecure-skip-tls-verify disables the verification."""
    cluster: dict[str, Any] = {"insecure-skip-tls-verify": True}
    async with await Api.connect(tls_server.kubeconfig(tmp_path, user, **cluster)) as api:
        assert await api.get(POOLS, "ns", "greet") == POOL


async def test_requests_go_by_the_proxy(server: ScriptedServer, tmp_path: Path) -> None:
    """The proxy of the kubeconfig overrides that of the environment."""
    server.script(answer(POOL))
    proxy, server.url = server.url, "http://kubernetes.example"
    async with await Api.connect(server.kubeconfig(tmp_path, {}, **{"proxy-url": proxy})) as api:
        assert await api.get(POOLS, "ns", "greet") == POOL
    assert server.requests[0].headers["Host"] == "kubernetes.example"

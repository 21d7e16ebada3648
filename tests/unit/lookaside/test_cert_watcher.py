"""TLS of the lookaside: authentication, and reloads of changed files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from backendpool.errors import SettingsError
from backendpool.k8s.client import Api
from backendpool.lookaside.cert_watcher import CertWatcher
from backendpool.lookaside.server import Ports, serving
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideStub
from backendpool.proto.v1.endpoints_pb2 import WatchRequest
from backendpool.proto.v1.endpoints_pb2_grpc import EndpointsStub
from tests.fakes.logs import logged
from tests.fakes.until import until
from tests.unit.lookaside.peers import ROUND_ROBIN, SETTINGS, http
from tools.certificates import Authority, write

NAME = "greetserver-lookaside.default.svc"
OPTIONS = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates") / "others")


@asynccontextmanager
async def secure(
    ports: Ports, authority: Authority, own: tuple[bytes, bytes] | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Yield a channel that trusts ``authority`` and presents the certificate ``own``."""
    chain, key = own or (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate, key, chain)
    async with grpc.aio.secure_channel(f"127.0.0.1:{ports.grpc}", credentials, options=OPTIONS) as channel:
        yield channel


async def answers(channel: grpc.aio.Channel) -> bool:
    """Return whether a call succeeds."""
    call = LookasideStub(channel).Resolve(ROUND_ROBIN, timeout=2)
    code = await call.code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE), await call.details()
    return code is grpc.StatusCode.OK


async def ready(ports: Ports) -> None:
    async with asyncio.timeout(5):
        while (await http(ports, "/readyz"))[0] != 200:
            await asyncio.sleep(0.01)


async def test_server_proves_who_it_is(api: Api, ours: Authority, others: Authority, tmp_path: Path) -> None:
    """The server serves clients that trust its CA, and neither other TLS clients nor plaintext ones."""
    write(tmp_path, *ours.issue(NAME))
    async with serving(api, replace(SETTINGS, tls_folder=tmp_path)) as ports:
        await ready(ports)
        async with secure(ports, ours) as trusting, secure(ports, others) as distrusting:
            assert await answers(trusting)
            assert not await answers(distrusting)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as clear:
            assert not await answers(clear)


async def test_clients_prove_who_they_are(api: Api, ours: Authority, others: Authority, tmp_path: Path) -> None:
    """With a ca.crt, the server serves only clients with a certificate of that CA."""
    write(tmp_path, *ours.issue(NAME), ours.certificate)
    async with serving(api, replace(SETTINGS, tls_folder=tmp_path)) as ports:
        await ready(ports)
        async with (
            secure(ports, ours, ours.issue("client")) as known,
            secure(ports, ours, others.issue("client")) as stranger,
            secure(ports, ours) as nobody,
        ):
            assert await answers(known)
            assert not await answers(stranger)
            assert not await answers(nobody)


async def test_certificate_is_reloaded_without_a_lost_stream(
    api: Api, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    """New connections see the new certificate, and open streams continue."""
    write(tmp_path, *ours.issue(NAME))
    async with serving(api, replace(SETTINGS, tls_folder=tmp_path)) as ports:
        await ready(ports)
        async with secure(ports, ours) as before, secure(ports, others) as after:
            stream = EndpointsStub(before).Watch(WatchRequest(namespace="default", service="greetserver"))
            await stream.read()
            assert not await answers(after)
            write(tmp_path, *others.issue(NAME))
            await until(lambda: answers(after))
            assert await answers(before)
            assert not stream.done()
            _, metrics = await http(ports, "/metrics")
    assert 'backendpool_lookaside_certificate_reloads_total{outcome="success"} 1.0' in metrics


async def test_failed_reload_keeps_the_certificate(
    api: Api, ours: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server keeps its last valid certificate and logs the error once."""
    chain, key = ours.issue(NAME)
    write(tmp_path, chain, key)
    with caplog.at_level(logging.WARNING):
        async with serving(api, replace(SETTINGS, tls_folder=tmp_path)) as ports:
            await ready(ports)
            write(tmp_path, chain, b"no key")
            for _ in range(3):
                async with secure(ports, ours) as channel:
                    assert await answers(channel)
    (record,) = logged(caplog, "Reloading the certificate failed, keeping the previous one")
    assert str(getattr(record, "error", "")).startswith("invalid tls.crt and tls.key")


async def test_mutual_tls_is_never_given_up(api: Api, ours: Authority, tmp_path: Path) -> None:
    """A reload without ca.crt fails, so clients must still present a certificate."""
    write(tmp_path, *ours.issue(NAME), ours.certificate)
    async with serving(api, replace(SETTINGS, tls_folder=tmp_path)) as ports:
        await ready(ports)
        write(tmp_path, *ours.issue(NAME))
        async with secure(ports, ours) as nobody, secure(ports, ours, ours.issue("client")) as known:
            assert not await answers(nobody)
            assert await answers(known)


def _empty(folder: Path, ours: Authority, others: Authority) -> None:
    folder.mkdir(exist_ok=True)


def _no_key(folder: Path, ours: Authority, others: Authority) -> None:
    write(folder, *ours.issue(NAME))
    (folder / "..data" / "tls.key").unlink()


def _foreign_key(folder: Path, ours: Authority, others: Authority) -> None:
    write(folder, ours.issue(NAME)[0], others.issue(NAME)[1])


def _no_certificate(folder: Path, ours: Authority, others: Authority) -> None:
    write(folder, b"garbage", ours.issue(NAME)[1])


def _no_ca(folder: Path, ours: Authority, others: Authority) -> None:
    write(folder, *ours.issue(NAME), b"garbage")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_empty, r"tls\.crt is missing: add it to the Secret that spec\.lookaside\.tls names"),
        (_no_key, r"tls\.key is missing: add it to the Secret"),
        (
            _foreign_key,
            r"invalid tls\.crt and tls\.key .*: expected a certificate chain and its own, unencrypted key",
        ),
        (_no_certificate, r"invalid tls\.crt and tls\.key"),
        (_no_ca, r"invalid ca\.crt .*: expected the certificates of one or more CAs, in PEM"),
    ],
)
def test_files_that_cannot_be_used_end_the_start(
    spoil: object, sentence: str, ours: Authority, others: Authority, tmp_path: Path
) -> None:
    """Invalid files stop the start with an error that names the file; the server never falls back to plaintext."""
    spoil(tmp_path, ours, others)  # type: ignore[operator]
    with pytest.raises(SettingsError, match=sentence):
        CertWatcher(tmp_path, lambda success: None)

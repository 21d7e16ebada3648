"""Finding the cluster, and following rotated tokens."""

import asyncio
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes.aio.config import kube_config

from backendpool.errors import SettingsError, Unauthorized, Unreachable
from backendpool.k8s import service_account
from backendpool.k8s.client import Api
from backendpool.k8s.credentials import Credentials
from backendpool.k8s.resources import POOLS
from tests.unit.k8s.scripted import ScriptedServer, answer, refuse, thing

Rotate = Callable[[str], None]
Wait = Callable[[], None]


@pytest.fixture
def kubelet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rotate:
    """Write a service account with the token "first"; calling the result rotates the token."""
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"

    def rotate(text: str) -> None:
        token.write_text(text)

    rotate("first")
    certificate.write_text(
        "".join(ssl.DER_cert_to_PEM_cert(c) for c in ssl.create_default_context().get_ca_certs(True))
    )
    monkeypatch.setattr(service_account, "FOLDER", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "198.18.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return rotate


@pytest.fixture
def minutes_later(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Advance the clock until the token is due to be read again."""
    return lambda: monkeypatch.setattr(service_account, "READ_AGAIN", 0.0)


@pytest.fixture
def no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))


def authorization(credentials: Credentials) -> str | None:
    """Return the Authorization header of a request."""
    return credentials.current().authorization


@pytest.mark.usefixtures("kubelet")
async def test_pod_uses_its_service_account() -> None:
    """In a pod, the service account is used, before any kubeconfig."""
    credentials = await Credentials.find()
    assert authorization(credentials) == "Bearer first"
    assert credentials.current().server == "https://198.18.0.1:443"


async def test_pods_own_namespace_is_known(kubelet: Rotate, tmp_path: Path) -> None:
    """The pod's namespace is read from the kubelet's file; without the file it is default."""
    assert (await Credentials.find()).namespace == "default"
    (tmp_path / "namespace").write_text("shop\n")
    assert (await Credentials.find()).namespace == "shop"


async def test_contexts_namespace_is_known(server: ScriptedServer, tmp_path: Path) -> None:
    """The namespace of the kubeconfig's context is used."""
    for written, namespace in (("", "default"), ("shop", "shop")):
        path = server.kubeconfig(tmp_path, {"token": "mine"}, namespace=written)
        assert (await Credentials.find(path)).namespace == namespace


async def test_rotated_token_is_read_at_once_when_the_old_one_is_refused(kubelet: Rotate) -> None:
    """A rejected token is read again at once."""
    credentials = await Credentials.find()
    assert authorization(credentials) == "Bearer first"
    kubelet("second")
    assert authorization(credentials) == "Bearer first", "it is not read for every request"
    assert await credentials.renew("Bearer first")
    assert authorization(credentials) == "Bearer second"


async def test_refused_token_without_another_is_not_tried_again(kubelet: Rotate) -> None:
    """If the file still holds the rejected token, the request is not retried."""
    credentials = await Credentials.find()
    assert not await credentials.renew("Bearer first")
    kubelet("")
    assert not await credentials.renew("Bearer first")


@pytest.mark.usefixtures("kubelet")
async def test_address_of_ipv6_is_put_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 address of the API server is put in brackets."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "2001:db8::1")
    assert (await Credentials.find()).current().server == "https://[2001:db8::1]:443"


@pytest.mark.usefixtures("kubelet", "no_kubeconfig")
@pytest.mark.parametrize(
    ("file", "problem"),
    [("token", "token: No such file or directory"), ("ca.crt", "ca.crt does not exist")],
)
async def test_incomplete_service_account_is_not_used(file: str, problem: str, tmp_path: Path) -> None:
    """Without a complete service account, the error says what is missing."""
    (tmp_path / file).unlink()
    with pytest.raises(SettingsError, match=f"service account: .*{problem}"):
        await Credentials.find()


@pytest.mark.usefixtures("kubelet")
async def test_named_kubeconfig_goes_before_the_service_account(server: ScriptedServer, tmp_path: Path) -> None:
    """An explicit kubeconfig is used even in a pod."""
    credentials = await Credentials.find(server.kubeconfig(tmp_path, {"token": "mine"}))
    assert authorization(credentials) == "Bearer mine"


async def test_request_is_sent_again_with_the_new_token(server: ScriptedServer, tmp_path: Path) -> None:
    """A request rejected with 401 is retried with the rotated token."""
    token = tmp_path / "token"
    token.write_text("old\n")
    server.script(refuse(401, "Unauthorized"), answer(thing("greet")))
    async with await Api.connect(server.kubeconfig(tmp_path, {"tokenFile": str(token)})) as api:
        token.write_text("new\n")
        await api.apply(POOLS, {"metadata": {"namespace": "ns", "name": "greet"}})
    assert [seen.headers["Authorization"] for seen in server.requests] == ["Bearer old", "Bearer new"]
    assert server.requests[1].body == server.requests[0].body


async def test_refusal_is_told_when_no_token_helps(server: ScriptedServer, api: Api) -> None:
    """Without a new token a request is sent once, with one twice, and never more often."""
    server.script(refuse(401, "Unauthorized"))
    with pytest.raises(Unauthorized):
        await api.get(POOLS, "ns", "greet")
    assert len(server.requests) == 1


async def test_many_refusals_load_once(server: ScriptedServer, tmp_path: Path) -> None:
    """Concurrent rejections share one reload of the credentials, since a plugin is a program."""
    runs = tmp_path / "runs"
    runs.write_text("")
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}
    program = (
        f"import json; log = open({str(runs)!r}, 'a+'); log.write('x'); log.flush(); log.seek(0);"
        f"print(json.dumps({credential!r} | {{'status': {{'token': log.read()}}}}))"
    )
    user = {"exec": {"apiVersion": credential["apiVersion"], "command": sys.executable, "args": ["-c", program]}}
    server.script(*[refuse(401, "Unauthorized")] * 3, *[answer(thing("greet"))] * 3)
    async with await Api.connect(server.kubeconfig(tmp_path, user)) as api:
        await asyncio.gather(*(api.get(POOLS, "ns", "greet") for _ in range(3)))
    assert runs.read_text() == "xx", "once to connect, once for the three refusals"
    assert [seen.headers["Authorization"] for seen in server.requests[3:]] == ["Bearer xx"] * 3


async def test_token_is_read_again_each_minute(kubelet: Rotate, minutes_later: Wait) -> None:
    """The token is read again every minute."""
    credentials = await Credentials.find()
    kubelet("second")
    minutes_later()
    assert authorization(credentials) == "Bearer second"


async def test_unreadable_token_fails_the_request(kubelet: Rotate, minutes_later: Wait) -> None:
    """A token file that is missing at a reload raises a cluster error."""
    async with await Api.connect() as api:
        kubelet("")
        minutes_later()
        with pytest.raises(Unreachable, match=r"credentials cannot be read: .*token is empty"):
            await api.get(POOLS, "ns", "greet")


@pytest.mark.usefixtures("no_kubeconfig")
async def test_no_cluster_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pod and a kubeconfig, the error names both and what to set."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(
        SettingsError,
        match=r"service account: KUBERNETES_SERVICE_HOST is not set; kubeconfig .*absent: .*set KUBECONFIG",
    ):
        await Api.connect()


@pytest.mark.parametrize("text", ["", "{", "a: [", "contexts: 3"])
async def test_unusable_kubeconfig(tmp_path: Path, text: str) -> None:
    """A broken kubeconfig is a settings error."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(SettingsError, match="no cluster found"):
        await Api.connect(str(path))


async def test_unusable_certificate(server: ScriptedServer, tmp_path: Path) -> None:
    """An invalid CA certificate is a settings error."""
    server.url = "https://127.0.0.1"
    path = server.kubeconfig(tmp_path, {}, **{"certificate-authority-data": "bm8gY2VydGlmaWNhdGU="})
    with pytest.raises(SettingsError, match="invalid certificates of the cluster"):
        await Api.connect(path)

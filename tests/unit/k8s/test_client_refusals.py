"""Errors of the API server, and malformed responses."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from backendpool import errors
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from tests.unit.k8s.scripted import POOL, ScriptedServer, Watch, answer, hang, raw, refuse


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, errors.ApiError),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (410, errors.Gone),
        (422, errors.ApiError),
        (429, errors.TooManyRequests),
        (503, errors.ApiError),
    ],
)
async def test_refusal_becomes_its_error(
    server: ScriptedServer, api: Api, code: int, kind: type[errors.ApiError]
) -> None:
    """A status of 400 or more raises its own error, with the server's reason and message."""
    server.script(refuse(code, "Because"))
    with pytest.raises(errors.ApiError) as caught:
        await api.get(POOLS, "ns", "greet")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason, caught.value.message) == (code, "Because", "Because it is")
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    ("headers", "details", "expected"),
    [
        ({"Retry-After": "3"}, {}, 3.0),
        ({}, {"retryAfterSeconds": 4}, 4.0),
        ({"Retry-After": "3"}, {"retryAfterSeconds": 4}, 3.0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, {}, None),
        ({"Retry-After": "31536000"}, {}, 30.0),
        ({}, {"retryAfterSeconds": 31536000}, 30.0),
        ({}, {"retryAfterSeconds": "soon"}, None),
    ],
)
async def test_refusal_tells_when_to_come_back(
    server: ScriptedServer, api: Api, headers: dict[str, str], details: dict[str, Any], expected: float | None
) -> None:
    """Retry-After is read from the header or the Status document, and limited to half a minute."""
    server.script(refuse(429, "TooManyRequests", headers, **details))
    with pytest.raises(errors.TooManyRequests) as caught:
        await api.get(POOLS, "ns", "greet")
    assert caught.value.retry_after == expected


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[]", b"\xff\xfe", b""])
async def test_refusal_of_a_proxy_is_an_api_error(server: ScriptedServer, api: Api, body: bytes) -> None:
    """An error page that is no Status document becomes an error with its HTTP status."""
    server.script(raw(body, 502))
    with pytest.raises(errors.ApiError, match=r"502 Bad Gateway: GET /apis/backendpool\.io/.*/greet"):
        await api.get(POOLS, "ns", "greet")


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b'{"cut', b"\xff"])
async def test_answer_that_is_no_document_is_malformed(server: ScriptedServer, api: Api, body: bytes) -> None:
    """A successful response that is no JSON document is malformed."""
    server.script(raw(body))
    with pytest.raises(errors.Malformed, match=r"GET /apis/backendpool\.io/.*/greet: no JSON document"):
        await api.get(POOLS, "ns", "greet")


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        {"resourceVersion": 7},
        {"resourceVersion": "seven"},
        {"resourceVersion": "7", "namespace": "ns", "uid": "u"},
        {"resourceVersion": "7", "namespace": "ns", "name": "greet"},
        {"resourceVersion": "7", "name": "greet", "uid": "u"},
        {"resourceVersion": "7", "namespace": "ns", "name": "greet", "uid": "u", "labels": ["app"]},
    ],
)
async def test_object_that_is_none_is_malformed(server: ScriptedServer, api: Api, meta: Any) -> None:
    """An object without metadata is malformed, alone or in a list."""
    other = {"metadata": meta}
    listed = {"metadata": {"resourceVersion": "7"}, "items": [POOL, other]}
    server.script(answer(other), answer(other), answer(listed))
    with pytest.raises(errors.Malformed):
        await api.get(POOLS, "ns", "greet")
    with pytest.raises(errors.Malformed):
        await api.replace_status(POOLS, POOL)
    with pytest.raises(errors.Malformed):
        await api.list_page(POOLS)


@pytest.mark.parametrize(
    "document",
    [
        {"login": "please"},
        {"metadata": {}, "items": []},
        {"metadata": {"resourceVersion": "7"}, "items": "none"},
        {"metadata": {"resourceVersion": "7"}, "items": [None]},
        {"metadata": {"resourceVersion": "7", "continue": 3}, "items": []},
    ],
)
async def test_list_that_is_none_is_malformed(server: ScriptedServer, api: Api, document: Any) -> None:
    """A malformed list is an error and is not taken for an empty list."""
    server.script(answer(document))
    with pytest.raises(errors.Malformed, match=f"GET {POOLS.path()}: no "):
        await api.list_page(POOLS)


@pytest.mark.parametrize("listed", [None, 3, [None], [{}], [{"name": 3}]])
async def test_kind_is_not_served_where_nothing_is_to_be_understood(
    server: ScriptedServer, api: Api, listed: Any
) -> None:
    """With a malformed discovery document, no kind is served."""
    groups = {"groups": [{"name": POOLS.group}]}
    server.script(answer({"groups": listed}), answer(groups), answer({"resources": listed}))
    assert not await api.serves(POOLS)
    assert not await api.serves(POOLS)


async def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection raises Unreachable with the address."""
    server = ScriptedServer()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with await Api.connect(server.kubeconfig(tmp_path, {})) as api:
            with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1"):
                await api.get(POOLS, "ns", "greet")


async def test_request_times_out(server: ScriptedServer, tmp_path: Path) -> None:
    """A server that hangs raises Unreachable after the request timeout, also before a watch begins."""
    server.script(hang, hang)
    async with await Api.connect(server.kubeconfig(tmp_path, {}), timeout=0.05) as api, asyncio.timeout(1):
        with pytest.raises(errors.Unreachable, match="no response in time"):
            await api.get(POOLS, "ns", "greet")
        with pytest.raises(errors.Unreachable, match="no response in time"):
            await anext(api.watch(POOLS, resource_version="5", idle_timeout=60))


async def test_answer_is_cut(server: ScriptedServer, api: Api) -> None:
    """A connection that is reset during a response raises Unreachable."""
    server.script(Watch(b'{"half').cut())
    with pytest.raises(errors.Unreachable):
        await api.get(POOLS, "ns", "greet")

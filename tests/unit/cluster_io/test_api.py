"""Requests to the API server."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from backendpool import __version__, errors
from backendpool.cluster.api import Api
from backendpool.cluster.resources import DEPLOYMENTS, ENDPOINT_SLICES, EVENTS, POOLS, ROLES, SERVICES
from tests.unit.cluster_io.scripted import ScriptedServer, Watch, answer, page, raw, refuse, thing, until

POOL: dict[str, Any] = {
    "metadata": {"namespace": "ns", "name": "greet", "uid": "u-1", "resourceVersion": "7"},
    "status": {"ready": 3},
}


async def hang(request: web.Request) -> web.StreamResponse:
    """Take the request and never answer, as a hung API server does."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (SERVICES.path("ns", "greet"), "/api/v1/namespaces/ns/services/greet"),
        (POOLS.path(), "/apis/backendpool.io/v1alpha1/grpcbackendpools"),
        (POOLS.path("ns", "p", "status"), "/apis/backendpool.io/v1alpha1/namespaces/ns/grpcbackendpools/p/status"),
        (ROLES.path("ns", "a:b/c"), "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles/a%3Ab%2Fc"),
    ],
)
def test_path_of_a_resource(path: str, expected: str) -> None:
    """The core group stands under /api, the others under /apis, and odd names are quoted."""
    assert path == expected


async def test_request_says_who_asks(server: ScriptedServer, api: Api) -> None:
    """Each request carries the token, and a user agent that an audit log can be searched for."""
    server.script(answer(POOL))
    assert await api.get(POOLS, "ns", "greet") == POOL
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("GET", POOLS.path("ns", "greet"))
    assert seen.headers["Authorization"] == "Bearer secret"
    assert seen.headers["User-Agent"] == f"backendpool/{__version__} client ({socket.gethostname()})"


async def test_programs_are_told_apart(server: ScriptedServer, tmp_path: Path) -> None:
    """By the user agent, where the API server or what stands before it has to know whose request it is."""
    server.script(answer(POOL))
    kubeconfig = server.kubeconfig(tmp_path, {"token": "secret"})
    async with await Api.connect(kubeconfig, program="operator", instance="operator-0_1f") as api:
        await api.get(POOLS, "ns", "greet")
        assert server.requests[0].headers["User-Agent"] == f"backendpool/{__version__} operator (operator-0_1f)"
        assert api.user_agent == server.requests[0].headers["User-Agent"]


async def test_list_page_selects_and_pages(server: ScriptedServer, api: Api) -> None:
    """Selectors, the page's size and the way to it are the server's to apply."""
    server.script(page(thing("a"), version=5, more="next"))
    listed = await api.list_page(
        ENDPOINT_SLICES, "ns", label_selector="a=b,c", field_selector="metadata.name=a", limit=2, continue_token="tok"
    )
    assert listed["metadata"]["continue"] == "next"
    assert dict(server.requests[0].query) == {
        "labelSelector": "a=b,c",
        "fieldSelector": "metadata.name=a",
        "limit": "2",
        "continue": "tok",
    }


async def test_list_can_be_of_metadata_alone(server: ScriptedServer, api: Api) -> None:
    """Whoever only wants to know what there is does not have it all sent."""
    server.script(page(thing("a"), version=5), page(thing("a"), version=5))
    await api.list_page(POOLS, metadata_only=True)
    await api.list_page(POOLS)
    partly, wholly = (seen.headers["Accept"] for seen in server.requests)
    assert partly == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert wholly == "application/json"


async def test_listed_objects_say_what_they_are(server: ScriptedServer, api: Api) -> None:
    """A listed object has the apiVersion and kind that the API server leaves out of lists."""
    server.script(page(thing("a"), {**thing("b"), "kind": "Own"}, version=5))
    items = (await api.list_page(DEPLOYMENTS))["items"]
    assert [(item["apiVersion"], item["kind"]) for item in items] == [("apps/v1", "Deployment"), ("apps/v1", "Own")]


async def test_apply_is_forced_server_side_apply(server: ScriptedServer, api: Api) -> None:
    """An apply is a PATCH of its own content type, under the one field manager, by force."""
    server.script(answer(POOL))
    assert await api.apply(DEPLOYMENTS, thing("greet")) == POOL
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("PATCH", DEPLOYMENTS.path("ns", "greet"))
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert dict(seen.query) == {"fieldManager": "backendpool", "force": "true"}
    assert seen.body == thing("greet")


async def test_create_leaves_the_name_to_the_server(server: ScriptedServer, api: Api) -> None:
    """An object that has only a generateName is posted to its collection."""
    event = {"metadata": {"namespace": "ns", "generateName": "greet."}}
    server.script(answer(POOL, 201))
    await api.create(EVENTS, event)
    (seen,) = server.requests
    assert (seen.method, seen.path, seen.body) == ("POST", EVENTS.path("ns"), event)


async def test_status_goes_to_its_subresource(server: ScriptedServer, api: Api) -> None:
    """A status is replaced under the resource version that the writer knew."""
    server.script(answer(POOL), refuse(409, "Conflict"))
    await api.replace_status(POOLS, POOL)
    (seen,) = server.requests
    assert (seen.method, seen.path, seen.body) == ("PUT", POOLS.path("ns", "greet", "status"), POOL)
    with pytest.raises(errors.Conflict):
        await api.replace_status(POOLS, POOL)


async def test_delete_only_deletes_the_object_that_was_meant(server: ScriptedServer, api: Api) -> None:
    """A delete names the UID, so that one made anew under the same name is spared, and reported."""
    server.script(answer({"kind": "Status"}), refuse(409, "Conflict"))
    await api.delete(SERVICES, "ns", "greet", uid="u-1")
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("DELETE", SERVICES.path("ns", "greet"))
    assert seen.body["preconditions"] == {"uid": "u-1"}
    assert seen.body["propagationPolicy"] == "Background"
    with pytest.raises(errors.Conflict):
        await api.delete(SERVICES, "ns", "greet", uid="u-1")


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
    """A status of 400 or more raises exactly its error, with the server's reason and sentence."""
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
    """The server's wish stands in a header, or in the Status document; one beyond reason counts as half a minute."""
    server.script(refuse(429, "TooManyRequests", headers, **details))
    with pytest.raises(errors.TooManyRequests) as caught:
        await api.get(POOLS, "ns", "greet")
    assert caught.value.retry_after == expected


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[]", b"\xff\xfe", b""])
async def test_refusal_of_a_proxy_is_an_api_error(server: ScriptedServer, api: Api, body: bytes) -> None:
    """An error page that is no Status document still becomes an error with its status, and says of what."""
    server.script(raw(body, 502))
    with pytest.raises(errors.ApiError, match=r"502 Bad Gateway: GET /apis/backendpool\.io/.*/greet"):
        await api.get(POOLS, "ns", "greet")


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b'{"cut', b"\xff"])
async def test_answer_that_is_no_document_is_malformed(server: ScriptedServer, api: Api, body: bytes) -> None:
    """A success that is not a JSON document was not written by the API server."""
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
    """Whether read or written, in a list or by itself: what lacks its metadata is no object."""
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
    """What is no list must not be taken for an empty one: all would seem deleted."""
    server.script(answer(document))
    with pytest.raises(errors.Malformed, match=f"GET {POOLS.path()}: no "):
        await api.list_page(POOLS)


@pytest.mark.parametrize("listed", [None, 3, [None], [{}], [{"name": 3}]])
async def test_kind_is_not_served_where_nothing_is_to_be_understood(
    server: ScriptedServer, api: Api, listed: Any
) -> None:
    """A discovery that is none says nothing of any kind."""
    groups = {"groups": [{"name": POOLS.group}]}
    server.script(answer({"groups": listed}), answer(groups), answer({"resources": listed}))
    assert not await api.serves(POOLS)
    assert not await api.serves(POOLS)


async def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection is Unreachable, with the address in its sentence."""
    server = ScriptedServer()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with await Api.connect(server.kubeconfig(tmp_path, {})) as api:
            with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1"):
                await api.get(POOLS, "ns", "greet")


async def test_request_times_out(server: ScriptedServer, tmp_path: Path) -> None:
    """A server that hangs is Unreachable, within the time-out of each request, also before a watch begins."""
    server.script(hang, hang)
    async with await Api.connect(server.kubeconfig(tmp_path, {}), timeout=0.05) as api, asyncio.timeout(1):
        with pytest.raises(errors.Unreachable, match="no answer in time"):
            await api.get(POOLS, "ns", "greet")
        with pytest.raises(errors.Unreachable, match="no answer in time"):
            await anext(api.watch(POOLS, resource_version="5", stall_seconds=60))


async def test_answer_is_cut(server: ScriptedServer, api: Api) -> None:
    """A connection that is reset in the middle of an answer is Unreachable."""
    server.script(Watch(b'{"half').cut())
    with pytest.raises(errors.Unreachable):
        await api.get(POOLS, "ns", "greet")


async def test_connections_are_used_again(server: ScriptedServer, api: Api) -> None:
    """An ordinary request leaves its connection for the next, refused or not."""
    peers = []

    async def note(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response(POOL, status=200 if len(peers) == 1 else 404)

    server.script(note, note, note)
    await api.get(POOLS, "ns", "greet")
    for _ in range(2):
        with pytest.raises(errors.NotFound):
            await api.get(POOLS, "ns", "greet")
    assert len(set(peers)) == 1


async def test_requests_are_counted_by_verb(server: ScriptedServer, api: Api) -> None:
    """Each page of a list is a request, and so is a watch; the verbs are those of Kubernetes' rules and audit logs."""
    server.script(page(thing("a"), version=5, more="next"), page(thing("b"), version=5), answer(POOL), answer(POOL))
    for token in ("", "next"):
        await api.list_page(POOLS, "ns", continue_token=token)
    await api.get(POOLS, "ns", "greet")
    await api.replace_status(POOLS, POOL)
    async with aclosing(api.watch(POOLS, "ns", resource_version="5", stall_seconds=1)) as events:
        await anext(events)
    assert api.requests == {"list": 2, "get": 1, "update": 1, "watch": 1}


@contextmanager
def noting(into: list[str]) -> Iterator[None]:
    """A fence that notes what passes it, and how that ended."""
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
    """It is left with the answer, be that a refusal; reading is nobody's business."""
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
    """What the fence raises is raised, and the API server hears nothing."""

    @contextmanager
    def closed() -> Iterator[None]:
        raise errors.NotLeading("another leads")
        yield

    async with await Api.connect(server.kubeconfig(tmp_path, {}), fence=closed) as api:
        with pytest.raises(errors.NotLeading):
            await WRITES[write](api)
    assert (server.requests, api.requests) == ([], {})


async def test_write_without_an_answer_is_told_to_the_fence(server: ScriptedServer, tmp_path: Path) -> None:
    """Timed out, or cut short by us: nobody knows whether it is done, nor whether it will be."""
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


async def test_proxy_of_the_environment_is_used(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kubectl does; where no proxy is named, none is looked for at each request."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.script(answer(POOL))
    kubeconfig = server.kubeconfig(tmp_path, {"token": "secret"}, server="http://api.example.com")
    async with await Api.connect(kubeconfig) as api:
        assert await api.get(POOLS, "ns", "greet") == POOL
    assert server.requests[0].headers["Host"] == "api.example.com"

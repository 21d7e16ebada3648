"""Requests to the API server."""

import socket
from contextlib import aclosing
from pathlib import Path

import pytest
from aiohttp import web

from backendpool import __version__, errors
from backendpool.k8s.client import Api
from backendpool.k8s.resources import DEPLOYMENTS, ENDPOINT_SLICES, EVENTS, POOLS, ROLES, SERVICES
from tests.unit.k8s.scripted import POOL, ScriptedServer, answer, page, refuse, thing


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
    """The core group is under /api, other groups under /apis, and names are quoted."""
    assert path == expected


async def test_request_says_who_asks(server: ScriptedServer, api: Api) -> None:
    """Each request carries the token and a user agent."""
    server.script(answer(POOL))
    assert await api.get(POOLS, "ns", "greet") == POOL
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("GET", POOLS.path("ns", "greet"))
    assert seen.headers["Authorization"] == "Bearer secret"
    assert seen.headers["User-Agent"] == f"backendpool/{__version__} client ({socket.gethostname()})"


async def test_programs_are_told_apart(server: ScriptedServer, tmp_path: Path) -> None:
    """The user agent names the program."""
    server.script(answer(POOL))
    kubeconfig = server.kubeconfig(tmp_path, {"token": "secret"})
    async with await Api.connect(kubeconfig, program="operator", instance="operator-0_1f") as api:
        await api.get(POOLS, "ns", "greet")
        assert server.requests[0].headers["User-Agent"] == f"backendpool/{__version__} operator (operator-0_1f)"
        assert api.user_agent == server.requests[0].headers["User-Agent"]


async def test_list_page_selects_and_pages(server: ScriptedServer, api: Api) -> None:
    """Selectors, limit and continue token are sent to the server."""
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
    """A list can be restricted to metadata."""
    server.script(page(thing("a"), version=5), page(thing("a"), version=5))
    await api.list_page(POOLS, metadata_only=True)
    await api.list_page(POOLS)
    partly, wholly = (seen.headers["Accept"] for seen in server.requests)
    assert partly == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert wholly == "application/json"


async def test_listed_objects_say_what_they_are(server: ScriptedServer, api: Api) -> None:
    """Listed objects get the apiVersion and kind that the API server omits in lists."""
    server.script(page(thing("a"), {**thing("b"), "kind": "Own"}, version=5))
    items = (await api.list_page(DEPLOYMENTS))["items"]
    assert [(item["apiVersion"], item["kind"]) for item in items] == [("apps/v1", "Deployment"), ("apps/v1", "Own")]


async def test_apply_is_forced_server_side_apply(server: ScriptedServer, api: Api) -> None:
    """An apply is a forced server-side apply under one field manager."""
    server.script(answer(POOL))
    assert await api.apply(DEPLOYMENTS, thing("greet")) == POOL
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("PATCH", DEPLOYMENTS.path("ns", "greet"))
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert dict(seen.query) == {"fieldManager": "backendpool", "force": "true"}
    assert seen.body == thing("greet")


async def test_create_leaves_the_name_to_the_server(server: ScriptedServer, api: Api) -> None:
    """An object with only a generateName is posted to its collection."""
    event = {"metadata": {"namespace": "ns", "generateName": "greet."}}
    server.script(answer(POOL, 201))
    await api.create(EVENTS, event)
    (seen,) = server.requests
    assert (seen.method, seen.path, seen.body) == ("POST", EVENTS.path("ns"), event)


async def test_status_goes_to_its_subresource(server: ScriptedServer, api: Api) -> None:
    """A status is replaced with the resource version that the writer read; the response may be skipped."""
    server.script(answer(POOL), refuse(409, "Conflict"))
    await api.replace_status(POOLS, POOL)
    (seen,) = server.requests
    assert (seen.method, seen.path, seen.body) == ("PUT", POOLS.path("ns", "greet", "status"), POOL)
    assert "as=PartialObjectMetadata;" in seen.headers["Accept"]
    with pytest.raises(errors.Conflict):
        await api.replace_status(POOLS, POOL)


async def test_delete_only_deletes_the_object_that_was_meant(server: ScriptedServer, api: Api) -> None:
    """A delete has a uid precondition, so a recreated object is not deleted."""
    server.script(answer({"kind": "Status"}), refuse(409, "Conflict"))
    await api.delete(SERVICES, "ns", "greet", uid="u-1")
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("DELETE", SERVICES.path("ns", "greet"))
    assert seen.body["preconditions"] == {"uid": "u-1"}
    assert seen.body["propagationPolicy"] == "Background"
    with pytest.raises(errors.Conflict):
        await api.delete(SERVICES, "ns", "greet", uid="u-1")


async def test_connections_are_used_again(server: ScriptedServer, api: Api) -> None:
    """Connections are reused after successes and rejections."""
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
    """Requests are counted by the verbs of RBAC and audit logs; each page of a list counts."""
    server.script(page(thing("a"), version=5, more="next"), page(thing("b"), version=5), answer(POOL), answer(POOL))
    for token in ("", "next"):
        await api.list_page(POOLS, "ns", continue_token=token)
    await api.get(POOLS, "ns", "greet")
    await api.replace_status(POOLS, POOL)
    async with aclosing(api.watch(POOLS, "ns", resource_version="5", idle_timeout=1)) as events:
        await anext(events)
    assert api.requests == {"list": 2, "get": 1, "update": 1, "watch": 1}


async def test_proxy_of_the_environment_is_used(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy of the environment is used as in kubectl, and looked up once."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.script(answer(POOL))
    kubeconfig = server.kubeconfig(tmp_path, {"token": "secret"}, server="http://api.example.com")
    async with await Api.connect(kubeconfig) as api:
        assert await api.get(POOLS, "ns", "greet") == POOL
    assert server.requests[0].headers["Host"] == "api.example.com"

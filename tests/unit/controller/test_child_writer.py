"""Writing one child while other clients change the same name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from backendpool.children.desired import children
from backendpool.controller.child_applier import ChildWriter, upgrade_managed_fields
from backendpool.controller.metrics import OperatorMetrics
from backendpool.errors import Conflict
from backendpool.k8s.client import Api
from backendpool.k8s.resources import Resource
from tests.fakes.fake_api import FakeApi
from tests.fakes.objects import Document, parsed_pool, service

POOL = parsed_pool(lookaside={"replicas": 0})
(CHILD,) = children(POOL, "unused")
REF = ("Service", "default", "greetserver")
FOREIGN = service("greetserver", type="NodePort")


class RacedApi(FakeApi):
    """An API client that runs the next of ``races`` right after each read of an object."""

    def __init__(self) -> None:
        super().__init__()
        self.races: list[Callable[[], object]] = []

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        found = await super().get(resource, namespace, name)
        if self.races:
            self.races.pop(0)()
        return found

    def change(self, **fields: Any) -> Document:
        return self.put({**self.objects[REF], **fields})

    def replace_by(self, obj: Document) -> None:
        self.remove(*REF)
        self.put(obj)

    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.writes]


@pytest.fixture
def api() -> RacedApi:
    return RacedApi()


@pytest.fixture
def writer(api: RacedApi) -> ChildWriter:
    return ChildWriter(cast("Api", api), OperatorMetrics(CollectorRegistry()))


async def test_missing_child_is_made_by_one_request(api: RacedApi, writer: ChildWriter) -> None:
    """A missing child is created without a read before, since the API server rejects a create of an existing name."""
    made, written = await writer.put(POOL, CHILD, known=False)
    assert (made, written) == (api.objects[REF], True)
    assert api.verbs() == ["create"]


async def test_foreign_object_of_the_name_is_left_alone(api: RacedApi, writer: ChildWriter) -> None:
    """A foreign object that appears just before the write is not overwritten."""
    foreign = api.put(FOREIGN)
    assert await writer.put(POOL, CHILD, known=False) == (foreign, False)
    assert (api.objects[REF], api.writes) == (foreign, [])


async def test_child_that_was_made_already_is_no_write(api: RacedApi, writer: ChildWriter) -> None:
    """A child that this or an earlier operator created already is not written again."""
    made, _ = await writer.put(POOL, CHILD, known=False)
    assert await writer.put(POOL, CHILD, known=False) == (made, False)
    assert api.verbs() == ["create"]


async def test_child_that_is_gone_is_made(api: RacedApi, writer: ChildWriter) -> None:
    """A deleted child is created again even before the watch reports the deletion."""
    assert (await writer.put(POOL, CHILD, known=True))[1]
    assert api.verbs() == ["create"]


async def test_first_apply_makes_the_creators_fields_its_own(api: RacedApi, writer: ChildWriter) -> None:
    """The first apply takes over the fields of the create; otherwise, fields that the spec drops would stay."""
    await writer.put(POOL, CHILD, known=False)
    for port in (1, 2):
        api.change(spec={"ports": [{"port": port}]})
        assert (await writer.put(POOL, CHILD, known=True))[1]
    assert api.verbs() == ["create", "merge", "apply", "apply"]
    assert [entry["operation"] for entry in api.managed(REF)] == ["Apply"]


@pytest.mark.parametrize("race", ["changed", "gone"])
async def test_change_under_an_apply_is_looked_at_again(api: RacedApi, writer: ChildWriter, race: str) -> None:
    """An apply that was decided on an old version is rejected and decided again."""
    await writer.put(POOL, CHILD, known=False)
    api.change(spec={})
    api.races = [lambda: api.change(status={"x": 1}) if race == "changed" else api.remove(*REF)]
    standing, written = await writer.put(POOL, CHILD, known=True)
    assert written
    assert standing["spec"] == api.objects[REF]["spec"] == CHILD["spec"]


async def test_object_that_takes_the_place_of_a_child_is_left_alone(api: RacedApi, writer: ChildWriter) -> None:
    """A foreign object that replaces a child between read and apply is not changed."""
    await writer.put(POOL, CHILD, known=False)
    api.change(spec={})
    foreign = service("greetserver", uid="foreign", type="NodePort")
    api.races = [lambda: api.replace_by(foreign)]
    standing, written = await writer.put(POOL, CHILD, known=True)
    assert (standing["metadata"]["uid"], written) == ("foreign", False)
    assert api.objects[REF]["spec"] == FOREIGN["spec"]


async def test_child_that_changes_all_the_time_is_given_up(api: RacedApi, writer: ChildWriter) -> None:
    """After repeated conflicts the error is raised, and the caller retries later."""
    await writer.put(POOL, CHILD, known=False)
    api.change(spec={})
    api.races = [lambda: api.change(status={"x": 1})] * 10
    with pytest.raises(Conflict):
        await writer.put(POOL, CHILD, known=True)
    assert len(api.races) == 7


async def test_deletion_is_of_the_object_that_was_meant(api: RacedApi, writer: ChildWriter) -> None:
    """A deletion succeeds if the object is gone or was replaced, and then deletes nothing."""
    made, _ = await writer.put(POOL, CHILD, known=False)
    ref = ("Service", "greetserver")
    assert not await writer.delete(POOL, ref, "another")
    assert await writer.delete(POOL, ref, made["metadata"]["uid"])
    assert not await writer.delete(POOL, ref, made["metadata"]["uid"])
    assert api.objects == {}


def entry(manager: str, operation: str, *fields: str, **more: str) -> Document:
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {name: {} for name in fields}}, **more}


def test_created_fields_become_applied_ones() -> None:
    """Fields of the create become applied fields; fields of other managers and of the status are kept."""
    others = [entry("kubectl", "Update", "f:a"), entry("backendpool", "Update", "f:b", subresource="status")]
    created = entry("backendpool", "Update", "f:c", time="2026-01-02T03:04:05Z")
    before = copy.deepcopy([*others, created])
    assert upgrade_managed_fields(before) == [*others, {**created, "operation": "Apply"}]
    assert before == [*others, created]


def test_applied_fields_are_left_as_they_are() -> None:
    """If nothing was created by the operator, the managed fields need no change."""
    assert upgrade_managed_fields([entry("kubectl", "Update", "f:a"), entry("backendpool", "Apply", "f:b")]) == []
    assert upgrade_managed_fields([]) == []


def test_created_and_applied_fields_become_one() -> None:
    """Created and applied fields of the operator are merged into one entry."""
    both = [entry("backendpool", "Apply", "f:a", "f:b"), entry("backendpool", "Update", "f:b", "f:c")]
    assert upgrade_managed_fields(both) == [entry("backendpool", "Apply", "f:a", "f:b", "f:c")]


async def test_service_that_had_an_address_is_made_anew(api: RacedApi, writer: ChildWriter) -> None:
    """A Service with a cluster IP is replaced by a headless one, since the IP cannot be removed."""
    older = copy.deepcopy(CHILD)
    older["spec"]["clusterIP"] = "198.51.100.1"
    before = api.put(older)
    made, written = await writer.put(POOL, CHILD, known=True)
    assert written
    assert made["spec"]["clusterIP"] == "None"
    assert made["metadata"]["uid"] != before["metadata"]["uid"]
    assert api.verbs() == ["delete", "create"]


FOREIGN_ENTRIES: list[Document] = [
    {},
    {"operation": "Update"},
    {"manager": "kubectl"},
    {"manager": "kubectl", "operation": "Update", "fieldsV1": None},
    {"manager": None, "operation": None, "fieldsType": None},
    {"manager": "backendpool", "operation": "Update"},
    {"manager": "backendpool", "fieldsV1": {}},
    {"manager": "backendpool", "operation": "Replace", "fieldsV1": {}},
    {"manager": "backendpool", "operation": "Apply", "fieldsV1": []},
    {"manager": "backendpool", "operation": "Update", "fieldsV1": {}, "subresource": "scale"},
]


@pytest.mark.parametrize("foreign", FOREIGN_ENTRIES, ids=str)
def test_entries_of_any_shape_are_left_alone(foreign: Document) -> None:
    """Foreign entries in the managed fields may have any shape and are not changed."""
    created = entry("backendpool", "Update", "f:c")
    assert upgrade_managed_fields([foreign]) == []
    assert upgrade_managed_fields([foreign, created]) == [foreign, {**created, "operation": "Apply"}]


def test_fields_of_our_own_may_be_of_any_shape() -> None:
    """The operator's own entries may have any shape too, since anybody may patch them."""
    odd = {"manager": "backendpool", "operation": "Apply", "fieldsV1": {"f:spec": None}}
    assert upgrade_managed_fields([odd, entry("backendpool", "Update", "f:c")]) == [
        entry("backendpool", "Apply", "f:c")
    ]

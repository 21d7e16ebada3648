"""Documents of any depth, as the API server stores them."""

from __future__ import annotations

import json

import pytest

from backendpool.errors import Malformed
from backendpool.k8s.shape import document_in

DEEP = 9_900
"""Levels: the API server refuses 10,000."""


def deep(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


@pytest.mark.parametrize("levels", [0, 1, 250, 500, 2_000, DEEP])
def test_objects_beside_a_deep_one_are_read(levels: int) -> None:
    """What one author nests without end in one object hides no other, and none of what that object is."""
    strange = '"[}{\\"]\\\\"'
    body = (
        f'{{"items": [{{"metadata": {{"name": "a", "managedFields": [{{"fieldsV1": {deep(levels)}}}], "uid": "1"}}}},'
        f' {{"metadata": {{"name": "b", "labels": {{{strange}: {strange}}}}}}}]}}'
    )
    first, second = document_in(body.encode())["items"]
    assert (first["metadata"]["name"], first["metadata"]["uid"]) == ("a", "1")
    assert second == {"metadata": {"name": "b", "labels": {'[}{"]\\': '[}{"]\\'}}}


def test_deep_lists_are_read() -> None:
    """Whatever it is that is nested."""
    assert document_in(f'{{"a": {"[" * DEEP}1{"]" * DEEP}, "b": 2}}'.encode())["b"] == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"}", b"[" * 20_000, b"{" * 20_000 + b"}" * 20_000, b"]" * 20_000])
def test_what_is_no_document_is_told(body: bytes) -> None:
    """At any depth."""
    with pytest.raises(Malformed, match="no JSON document"):
        document_in(body)


def test_shallow_documents_are_read_whole() -> None:
    """Nothing is left out of what every object is."""
    document = {"a": {"b": [{"c": "d"}]}, "e": None}
    assert document_in(json.dumps(document).encode()) == document

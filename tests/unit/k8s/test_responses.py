"""Parsing responses: documents of any depth, watch lines, events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.errors import ApiError, Gone, Malformed, TooManyRequests
from backendpool.k8s.responses import decode_event, document_in, lines
from tests.unit.k8s.scripted import added, bookmark, error

DEEP = 9_900
"""Levels: the API server refuses 10,000."""


def deep(levels: int) -> str:
    return '{"f:a":' * levels + "{}" + "}" * levels


@pytest.mark.parametrize("levels", [0, 1, 250, 500, 2_000, DEEP])
def test_objects_beside_a_deep_one_are_read(levels: int) -> None:
    """A deeply nested object hides neither other objects nor its own metadata."""
    strange = '"[}{\\"]\\\\"'
    body = (
        f'{{"items": [{{"metadata": {{"name": "a", "managedFields": [{{"fieldsV1": {deep(levels)}}}], "uid": "1"}}}},'
        f' {{"metadata": {{"name": "b", "labels": {{{strange}: {strange}}}}}}}]}}'
    )
    first, second = document_in(body.encode())["items"]
    assert (first["metadata"]["name"], first["metadata"]["uid"]) == ("a", "1")
    assert second == {"metadata": {"name": "b", "labels": {'[}{"]\\': '[}{"]\\'}}}


def test_deep_lists_are_read() -> None:
    """A document with deeply nested lists or maps is read."""
    assert document_in(f'{{"a": {"[" * DEEP}1{"]" * DEEP}, "b": 2}}'.encode())["b"] == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"}", b"[" * 20_000, b"{" * 20_000 + b"}" * 20_000, b"]" * 20_000])
def test_what_is_no_document_is_told(body: bytes) -> None:
    """Invalid JSON is malformed at any depth."""
    with pytest.raises(Malformed, match="no JSON document"):
        document_in(body)


def test_shallow_documents_are_read_whole() -> None:
    """Documents of usual depth are read whole."""
    document = {"a": {"b": [{"c": "d"}]}, "e": None}
    assert document_in(json.dumps(document).encode()) == document


async def chunks(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for begin, end in pairwise(edges):
        yield body[begin:end]


@given(
    st.lists(st.binary(max_size=8).map(lambda text: text.replace(b"\n", b"")), max_size=6), st.lists(st.integers(0, 60))
)
async def test_lines_do_not_depend_on_how_bytes_arrive(texts: list[bytes], cuts: list[int]) -> None:
    """Lines do not depend on chunk boundaries, and an unterminated last line counts."""
    whole = [text + b"\n" for text in texts]
    assert [line async for line in lines(chunks(b"".join(whole), cuts))] == texts
    unended = [line async for line in lines(chunks(b"".join(whole) + b"half", cuts))]
    assert unended == [*texts, b"half"]


async def test_line_may_be_longer_than_any_buffer() -> None:
    """A line of several megabytes in small chunks is read in linear time."""
    body = b"x" * 2**22 + b"\n"
    assert [len(line) async for line in lines(chunks(body, list(range(0, 2**22, 2**12))))] == [2**22]


@pytest.mark.parametrize("event", [added("a", 1, 5), bookmark(6)])
def test_event_is_given_as_it_came(event: bytes) -> None:
    """Events are passed on unchanged."""
    assert decode_event(event) == json.loads(event)


@pytest.mark.parametrize(("code", "kind"), [(410, Gone), (429, TooManyRequests), (500, ApiError), (504, ApiError)])
def test_error_event_becomes_its_error(code: int, kind: type[ApiError]) -> None:
    """An ERROR event raises the same error as an HTTP status."""
    with pytest.raises(ApiError, match="Expired it is") as caught:
        decode_event(error(code, "Expired", retryAfterSeconds=2))
    assert type(caught.value) is kind
    assert caught.value.retry_after == 2


def test_error_event_may_have_odd_details() -> None:
    """Of a Status, only the code is required."""
    obj = {"code": 410, "details": ["x"], "reason": 3, "message": {"a": "b"}}
    with pytest.raises(Gone, match=r"410 3: \{'a': 'b'\}"):
        decode_event(json.dumps({"type": "ERROR", "object": obj}).encode())


@pytest.mark.parametrize(
    "text",
    [
        b'{"type": "ADDED", "object": {"metadata": {"resourceVer',
        b"",
        b"null",
        b"[]",
        b"<html>",
        b"\xff",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": {"metadata": {}}}',
        b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "2"}}}',
        added("a").replace(b'"ADDED"', b'["ADDED"]'),
        added("a").replace(b"ADDED", b"RENAMED"),
        b'{"type": "BOOKMARK", "object": null}',
        b'{"type": "ERROR", "object": {"message": "no code"}}',
        b'{"type": "ERROR", "object": ["no code"]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_event_is_malformed(text: bytes) -> None:
    """A line that is no event raises Malformed."""
    with pytest.raises(Malformed, match=r"^no "):
        decode_event(text)

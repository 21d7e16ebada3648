"""Parser of the body of POST /greet."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greet.gateway.greeting import parse_greeting
from greet.gateway.problems import Problem

NAMES = st.text(min_size=1)


def refused(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        parse_greeting(body)
    return caught.value


@given(NAMES, NAMES)
def test_every_pair_of_names_is_read(first: str, last: str) -> None:
    """Names in any script arrive unchanged."""
    body = json.dumps({"first_name": first, "last_name": last, "unknown": [1]}, ensure_ascii=False).encode()
    person = parse_greeting(body).greeting
    assert (person.first_name, person.last_name) == (first, last)


@given(st.binary())
def test_no_body_gets_past_the_parser_by_another_error(body: bytes) -> None:
    """Arbitrary bytes give a problem, never another exception."""
    assert refused(body).status in (400, 422)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"first_name": "a",}', b"[" * 60_000, b"1" * 5_000, "\ufeff{}".encode(), b"{} {}"],
    ids=["empty", "cut", "not UTF-8", "trailing comma", "deep", "long number", "byte order mark", "two documents"],
)
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    """The problem says why the body is not JSON, and shows an example."""
    problem = refused(body)
    assert problem.status == 400
    assert 'send an object like {"first_name": "Ada"' in problem.detail


@pytest.mark.parametrize("body", [b"null", b"[]", b'"Ada"', b"1", b"true", b"NaN"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    """JSON that is not an object gives an error whose pointer is the whole document."""
    problem = refused(body)
    assert problem.status == 422
    assert problem.errors.keys() == {"#"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", "is missing: expected"),
        (None, "is missing: expected"),
        (1, "is not a string: put"),
        (["Ada"], "is not a string: put"),
        ({}, "is not a string: put"),
        (False, "is not a string: put"),
        ("\ud800", "contains a lone surrogate: send"),
        ("a\udfffb", "contains a lone surrogate: send"),
    ],
)
@pytest.mark.parametrize("field", ["first_name", "last_name"])
def test_faulty_field_is_named(field: str, value: object, fault: str) -> None:
    """The problem points to the invalid field and to no other."""
    problem = refused(json.dumps({"first_name": "Ada", "last_name": "Lovelace", field: value}).encode())
    assert problem.status == 422
    assert problem.errors.keys() == {f"#/{field}"}
    assert problem.errors[f"#/{field}"].startswith(fault)
    assert problem.detail.startswith(f"{field} {fault}")


def test_all_faulty_fields_are_named_at_once() -> None:
    """One response lists the errors of all fields."""
    assert refused(b"{}").errors.keys() == {"#/first_name", "#/last_name"}

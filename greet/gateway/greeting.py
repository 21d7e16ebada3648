"""The body of ``POST /greet``: ``{"first_name": …, "last_name": …}``. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from greet.gateway.problems import Problem
from greet.greet_pb2 import Greeting, GreetingRequest

_FIELDS: Final = ("first_name", "last_name")
_EXAMPLE: Final = '{"first_name": "Ada", "last_name": "Lovelace"}'


def parse_greeting(body: bytes) -> GreetingRequest:
    """The request for ``body``; fields that are not known are passed over.

    Raises :class:`Problem`: 400 for what is not JSON, 422 for JSON that is no greeting, with each field's fault.
    """
    document = _decoded(body)
    if not isinstance(document, dict):
        detail = f"the body is not a JSON object: send one like {_EXAMPLE}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors={"#": "this is to be an object"})
    errors = {f"#/{name}": fault for name in _FIELDS if (fault := _fault(document, name))}
    if errors:
        detail = "; ".join(f"{pointer.removeprefix('#/')} {fault}" for pointer, fault in errors.items())
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)
    return GreetingRequest(greeting=Greeting(first_name=document["first_name"], last_name=document["last_name"]))


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body.decode())
    # ValueError is also what bytes that are not UTF-8 and numbers of too many digits raise.
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        detail = f"the body cannot be read as JSON ({reason}): send an object like {_EXAMPLE}"
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from error


def _fault(document: Mapping[str, Any], name: str) -> str | None:
    """What is wrong with a field; None where nothing is. An empty string is none at all in proto3."""
    value = document.get(name)
    if value is None or value == "":
        return "is missing: give a string that is not empty"
    if not isinstance(value, str):
        return "is not a string: put it in quotes"
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can escape one half of a pair of surrogates, which no UTF-8 and so no protobuf string can hold.
        return "holds half of a surrogate pair: send whole characters"
    return None

"""Parser of the body of ``POST /greet``: ``{"first_name": …, "last_name": …}``."""

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
    """Return the request for ``body``; ignore unknown fields.

    Raises :class:`Problem`: 400 if the body is not JSON, 422 with all field errors if the JSON is not a greeting.
    """
    document = _decoded(body)
    if not isinstance(document, dict):
        detail = f"the body is not a JSON object: send one like {_EXAMPLE}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors={"#": "expected an object"})
    errors = {f"#/{name}": fault for name in _FIELDS if (fault := _fault(document, name))}
    if errors:
        detail = "; ".join(f"{pointer.removeprefix('#/')} {fault}" for pointer, fault in errors.items())
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)
    return GreetingRequest(greeting=Greeting(first_name=document["first_name"], last_name=document["last_name"]))


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body.decode())
    # Invalid UTF-8 and numbers with too many digits raise ValueError, too.
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        detail = f"the body cannot be read as JSON ({reason}): send an object like {_EXAMPLE}"
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from error


def _fault(document: Mapping[str, Any], name: str) -> str | None:
    """Return what is wrong with a field, or None. In proto3, an empty string means that the field is not set."""
    value = document.get(name)
    if value is None or value == "":
        return "is missing: expected a non-empty string"
    if not isinstance(value, str):
        return "is not a string: put it in quotes"
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can escape a lone surrogate, which UTF-8 (and so a protobuf string) cannot represent.
        return "contains a lone surrogate: send valid Unicode"
    return None

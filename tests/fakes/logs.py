"""The records that a test captured, found by their literal sentence and their fields."""

from __future__ import annotations

import logging

import pytest

from backendpool.runtime.logs import format_fields, split_record


def logged(caplog: pytest.LogCaptureFixture, sentence: str, **fields: object) -> list[logging.LogRecord]:
    """Return the records of ``sentence`` that have these fields, compared as text, and maybe others."""
    found = []
    for record in caplog.records:
        said, has = split_record(record)
        if said == sentence and format_fields({name: has.get(name) for name in fields}) == format_fields(fields):
            found.append(record)
    return found

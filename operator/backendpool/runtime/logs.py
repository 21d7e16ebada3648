"""Structured logs: a literal sentence, and its data as fields in ``extra``.

docs/operations.md describes the two formats and lists the names of the fields. The programs configure both formats; an
application that uses the client library has formatters of its own, for which :class:`FieldLogger` appends the fields to
the message.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import textwrap
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from backendpool.errors import SettingsError

_LEVELS: Final = ("debug", "info", "warning", "error")
_FORMATS: Final = ("text", "json")
_RECORD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUOTED: Final = frozenset(' "=\\')
"""Printable characters that a value has only in quotes."""

_Scalar: TypeAlias = str | int | float | bool


def configure_logging(level: str = "info", format: str = "text") -> None:  # noqa: A002 (the flag's own name)
    """Log to standard error from ``level`` up, as ``text`` or as ``json``, one object per line.

    Raises :class:`SettingsError` for an unknown level or format.
    """
    if level.lower() not in _LEVELS:
        raise SettingsError(f"invalid LOG_LEVEL {level!r}: expected one of {', '.join(_LEVELS)}")
    if format not in _FORMATS:
        raise SettingsError(f"invalid LOG_FORMAT {format!r}: expected one of {', '.join(_FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def format_fields(fields: Mapping[str, object]) -> str:
    """Return ``key=value key="value with spaces"``, without the fields that are None.

    A value that is empty or has spaces, quotes, backslashes, ``=`` or unprintable characters becomes a JSON string, so
    that untrusted data cannot forge a field or a line, and cannot control a terminal.
    """
    return " ".join(f"{name}={_quoted(_text(value))}" for name, value in fields.items() if value is not None)


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records have ``fields`` and the ``extra`` of each call, both as attributes and in the message.

    Log a literal sentence without arguments: the message is not interpolated.
    """

    def __init__(self, logger: logging.Logger, **fields: object) -> None:
        super().__init__(logger, fields)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the fields, and append them to the message."""
        fields = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        # Scalars, since an application's formatter may pass them to json.dumps.
        scalars = {name: _scalar(value) for name, value in fields.items() if value is not None}
        return f"{msg}{_suffix(scalars)}", {**kwargs, "extra": scalars}


class _TextFormatter(logging.Formatter):
    """``time LEVEL logger: sentence key=value``; the lines of a traceback follow, indented.

    Only a record begins in the first column: neither its message nor the text of an exception can forge one.
    """

    def format(self, record: logging.LogRecord) -> str:
        sentence, fields = split_record(record)
        line = f"{_timestamp(record)} {record.levelname:<7} {record.name}: {_escape(sentence)}{_suffix(fields)}"
        details = [self.formatException(record.exc_info)] if record.exc_info else []
        details += [self.formatStack(record.stack_info)] if record.stack_info else []
        return "\n".join([line, *(textwrap.indent(_escape_lines(text), "  ", lambda _: True) for text in details)])


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message (the sentence alone), the fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        sentence, fields = split_record(record)
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": sentence,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        values = {name: _scalar(value) for name, value in fields.items() if value is not None}
        return _escape(json.dumps({**line, **values, **line}, ensure_ascii=False))


def split_record(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """Return the sentence, without the fields that a :class:`FieldLogger` appended, and the fields."""
    fields = {name: value for name, value in vars(record).items() if name not in _RECORD_ATTRIBUTES}
    return record.getMessage().removesuffix(_suffix(fields)), fields


def _suffix(fields: Mapping[str, object]) -> str:
    text = format_fields(fields)
    return f" {text}" if text else ""


def _scalar(value: object) -> _Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value if isinstance(value, _Scalar) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, BaseException):
        return str(value) or repr(value)
    return str(value)


def _quoted(text: str) -> str:
    if text and text.isprintable() and _QUOTED.isdisjoint(text):
        return text
    return _escape(json.dumps(text, ensure_ascii=False))


def _escape(text: str) -> str:
    """Replace unprintable characters, among them line breaks and terminal controls, by JSON's escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def _escape_lines(text: str) -> str:
    return "\n".join(map(_escape, text.split("\n")))


def _timestamp(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

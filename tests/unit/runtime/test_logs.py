"""The formats of the log, and loggers with fields."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from backendpool.errors import SettingsError
from backendpool.runtime.logs import FieldLogger, configure_logging, format_fields

HOSTILE = 'a" port=1\r\n2026-01-01T00:00:00.000Z ERROR   a.b: forged\x1b[2J\x7f\x9b\u2028\u202e'
"""Quotes, a line break, a terminal's escape sequences (7-bit and 8-bit), and characters that reorder a line."""


def line_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of the log, from the logger's name on."""
    (line,) = capsys.readouterr().err.splitlines()
    return line.partition("INFO    ")[2]


def object_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (line,) = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_text_log_is_a_sentence_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields follow the sentence in the order of the call; None is left out."""
    configure_logging()
    fields = {"pool": "ns/who", "port": 80, "wait_seconds": 0.5, "ready": True, "zone": None, "error": Timeout()}
    logging.getLogger("a.b").info("Served", extra=fields)
    assert line_of(capsys) == "a.b: Served pool=ns/who port=80 wait_seconds=0.5 ready=true error=Timeout()"


class Timeout(Exception):
    """An error without a message."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "a"', r'"say \"a\""'),
        ("a\\b", r'"a\\b"'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("\udcff", r'"\udcff"'),
        ("naïve", "naïve"),
        ("ipv6:[::1]:80", "ipv6:[::1]:80"),
        (ValueError("no such port"), '"no such port"'),
    ],
)
def test_value_is_quoted_if_it_could_be_misread(value: object, text: str) -> None:
    assert format_fields({"key": value}) == f"key={text}"


@pytest.mark.parametrize("logger", [logging.getLogger("a.b"), FieldLogger(logging.getLogger("a.b"))])
def test_text_log_keeps_a_message_on_one_line(
    logger: logging.Logger | FieldLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a value nor a message can forge a record or a field, or control a terminal."""
    configure_logging()
    logger.info("Read", extra={"note": HOSTILE})
    line = line_of(capsys)
    assert line.isprintable()
    name, _, value = line.partition("=")
    assert name == "a.b: Read note"
    assert json.loads(value) == HOSTILE
    logger.info(HOSTILE)
    assert line_of(capsys).isprintable()


def test_exception_cannot_forge_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of a traceback are indented, and without control characters."""
    configure_logging()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("a.b").exception("Failed", extra={"pool": "ns/who"})
    first, *others = capsys.readouterr().err.rstrip("\n").split("\n")
    assert first.endswith("ERROR   a.b: Failed pool=ns/who")
    assert len(others) > 3
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_json_log_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A record is one line of JSON, with its exception and its fields; scalars keep their type."""
    configure_logging("info", "json")
    fields = {"pool": "greet", "port": 80, "ready": True, "age_seconds": float("inf"), "zone": None, "note": HOSTILE}
    try:
        raise ValueError("broken")
    except ValueError as error:
        logging.getLogger("a.b").exception("it\nfailed", extra={**fields, "error": error, "level": "none"})
    record = object_of(capsys)
    assert record.pop("time").endswith("Z")
    assert "ValueError: broken" in record.pop("exception")
    assert record == {
        "level": "error",
        "logger": "a.b",
        "message": "it\nfailed",
        "pool": "greet",
        "port": 80,
        "ready": True,
        "age_seconds": "inf",
        "note": HOSTILE,
        "error": "broken",
    }


def test_json_log_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    logging.getLogger("a.b").info(HOSTILE)
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert json.loads(line)["message"] == HOSTILE


def test_formatter_of_an_application_shows_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    """The client library logs where nobody formats ``extra``; the fields are attributes as well."""
    log = FieldLogger(logging.getLogger("a.b"), pool="ns/who", zone="a")
    log.warning("100% failed", extra={"error": ValueError("no such port"), "zone": None})
    (record,) = caplog.records
    assert logging.Formatter("%(levelname)s %(message)s").format(record) == (
        'WARNING 100% failed pool=ns/who error="no such port"'
    )
    assert vars(record)["pool"] == "ns/who"
    assert vars(record)["error"] == "no such port"
    assert record.funcName == "test_formatter_of_an_application_shows_the_fields"


def test_own_formatters_show_the_fields_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Text has them once, and in JSON the message is the sentence alone."""
    log = FieldLogger(logging.getLogger("a.b"), pool="ns/who")
    configure_logging()
    log.info("Served", extra={"port": 80, "note": HOSTILE, "error": ValueError("two words")})
    assert line_of(capsys).count("pool=ns/who port=80 note=") == 1
    configure_logging("info", "json")
    log.info("Served", extra={"port": 80, "error": ValueError("two words")})
    record = object_of(capsys)
    assert (record["message"], record["pool"], record["port"]) == ("Served", "ns/who", 80)
    log.info("Served")
    assert object_of(capsys)["message"] == "Served"


def test_level_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """Records under the level are not written, whichever case the level is given in."""
    configure_logging("WARNING", "text")
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_unknown_level_and_format_are_refused() -> None:
    """The error names the variable and the choices."""
    with pytest.raises(SettingsError, match="invalid LOG_LEVEL 'loud': expected one of debug, info, warning, error"):
        configure_logging("loud")
    with pytest.raises(SettingsError, match="invalid LOG_FORMAT 'xml': expected one of text, json"):
        configure_logging("info", "xml")

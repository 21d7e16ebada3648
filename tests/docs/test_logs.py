"""Rules for log calls, and the logged fields compared with docs/operations.md."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from backendpool.runtime import logs
from tests.docs.markdown import OPERATIONS, REPOSITORY, block, section, table

FILES = [
    path
    for root in ("operator/backendpool", "greet")
    for path in sorted((REPOSITORY / root).rglob("*.py"))
    if "_pb2" not in path.name and path != Path(logs.__file__)
]
LOGGERS = {"log", "_log", "outage_log"}
"""The names of loggers, by which this test recognizes log calls."""
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
SENTENCE = re.compile(r"[A-Z][^%{}\n]*[^%{}\n.]")
OUTAGE_LOG = "operator/backendpool/runtime/backoff.py"
"""OutageLog logs sentences that its callers pass; the test checks those where OutageLog is constructed."""


def name_of(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def calls_in(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def is_log_call(call: ast.Call) -> bool:
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in METHODS:
        return False
    return name_of(function.value) in LOGGERS | {"logging"}


def arguments(call: ast.Call) -> list[ast.expr]:
    """Return the positional arguments without the level."""
    return call.args[1:] if name_of(call.func) == "log" else call.args


def sentences(call: ast.Call) -> list[ast.expr]:
    """Return the arguments of a call that must be literal sentences."""
    if name_of(call.func) == "OutageLog":
        return call.args[1:3]
    return arguments(call) if is_log_call(call) else []


def fields_of(node: ast.expr) -> set[str]:
    """Return the fields in the value of ``extra``: a dict literal or a call of ``_log_fields``."""
    match node:
        case ast.Call(func=function) if name_of(function) == "_log_fields":
            return set()  # fields_in adds them where the function is defined
        case ast.Dict(keys=keys, values=values):
            found: set[str] = set()
            for key, value in zip(keys, values, strict=True):
                found |= fields_of(value) if key is None else {ast.literal_eval(key)}
            return found
    raise AssertionError(f"cannot read the fields of {ast.unparse(node)}: use a dict literal or _log_fields()")


def fields_in(tree: ast.AST) -> set[str]:
    """Return all fields that a module logs."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(keywords=keywords) if is_log_call(node):
                found = found.union(*(fields_of(one.value) for one in keywords if one.arg == "extra"))
            case ast.Call(keywords=keywords) if name_of(node.func) == "FieldLogger":
                found |= {one.arg for one in keywords if one.arg}
            case ast.FunctionDef(name="_log_fields"):
                returned = (one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value)
                found = found.union(*map(fields_of, returned))
            case ast.keyword(arg="log_fields", value=ast.Lambda(body=body)):
                found |= fields_of(body)
            case ast.arguments(args=args, defaults=defaults):
                for arg, default in zip(reversed(args), reversed(defaults), strict=False):
                    if arg.arg == "log_fields" and isinstance(default, ast.Lambda):
                        found |= fields_of(default.body)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_log_calls_are_literal_sentences(path: Path) -> None:
    """Each log message is one literal sentence, so grep finds it; variable data is in fields."""
    if path == REPOSITORY / OUTAGE_LOG:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for call in calls_in(tree):
        if is_log_call(call):
            assert len(arguments(call)) == 1, ast.unparse(call)
        for sentence in sentences(call):
            assert isinstance(sentence, ast.Constant), ast.unparse(call)
            assert SENTENCE.fullmatch(ast.literal_eval(sentence)), ast.unparse(call)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_loggers_are_named_alike(path: Path) -> None:
    """All loggers have one of the names by which the other tests recognize log calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Assign(targets=targets, value=ast.Call(func=function)):
                if name_of(function) in ("getLogger", "FieldLogger"):
                    assert {name_of(target) for target in targets} <= LOGGERS, ast.unparse(node)


def test_fields_are_documented() -> None:
    """The table of fields in docs/operations.md lists exactly the fields that are logged."""
    documented = [row["field"] for row in table(section(OPERATIONS, "Logs"), "field", "meaning")]
    logged = set[str]().union(*(fields_in(ast.parse(path.read_text(encoding="utf-8"))) for path in FILES))
    assert documented == sorted(logged)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", field) for field in documented)
    # LogRecord raises an error for fields named as its attributes; the others are members of the JSON format.
    attributes = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
    assert not {*attributes, "time", "level", "logger", "exception"}.intersection(documented)


def test_examples_are_what_the_formats_show(capsys: pytest.CaptureFixture[str]) -> None:
    """The two examples in docs/operations.md show the same record, as text and as JSON."""
    text, line = (block(section(OPERATIONS, "Logs"), language) for language in ("text", "json"))
    example = json.loads(line)
    standard = {name: example.pop(name) for name in ("time", "level", "logger", "message")}
    for format_, shown in (("text", text), ("json", line)):
        logs.configure_logging(format=format_)
        log = logging.getLogger(standard["logger"])
        level = logging.getLevelName(standard["level"].upper())
        record = log.makeRecord(log.name, level, "", 0, standard["message"], (), None, extra=example)
        record.created = datetime.fromisoformat(standard["time"]).timestamp()
        log.handle(record)
        assert capsys.readouterr().err == shown

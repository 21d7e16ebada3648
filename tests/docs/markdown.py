"""What the documents show, for the tests that run it: sections, code blocks, commands, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"
ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
CLIENT = REPOSITORY / "docs" / "client.md"
OPERATIONS = REPOSITORY / "docs" / "operations.md"
XDS = REPOSITORY / "docs" / "xds.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """What a reader is told to type, and what is shown as its answer (empty where nothing is)."""

    line: str
    answer: str


def section(path: Path, heading: str) -> str:
    """What stands below a heading, down to the next one of its level or above."""
    text = path.read_text(encoding="utf-8")
    outside = _FENCE.sub(lambda block: " " * len(block[0]), text)  # a comment in a script is no heading
    headings = [(match, len(match[1])) for match in _HEADING.finditer(outside)]
    found, level = next((match, level) for match, level in headings if match[2] == heading)
    later = (match.start() for match, deep in headings if match.start() > found.start() and deep <= level)
    return text[found.end() : next(later, len(text))]


def block(text: str, language: str) -> str:
    """The one code block of that language."""
    (found,) = (body for kind, body in _FENCE.findall(text) if kind == language)
    return str(found)


def commands(text: str) -> list[Command]:
    """The commands of all console blocks, each with the answer below it."""
    sessions = "".join(body for kind, body in _FENCE.findall(text) if kind == "console")
    typed = (part.partition("\n") for part in re.split(r"^\$ ", sessions, flags=re.MULTILINE)[1:])
    return [Command(line.partition(" #")[0].rstrip(), answer) for line, _, answer in typed]


def table(text: str, *head: str) -> list[dict[str, str]]:
    """The rows of the table with these columns, each by its columns' names; code spans without their ticks."""
    lines = iter(text.splitlines())
    next(line for line in lines if _cells(line) == list(head))
    next(lines)  # the rule below the head
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [dict(zip(head, map(plain, _cells(row)), strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def plain(cell: str) -> str:
    """What a cell that is nothing but code says; other cells as they are."""
    return cell[1:-1] if re.fullmatch(r"`[^`]*`", cell) else cell


def links(text: str) -> list[str]:
    """All targets of links."""
    return _LINK.findall(_FENCE.sub("", text))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings}

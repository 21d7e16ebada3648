"""Parser of Markdown documents for tests: sections, code blocks, commands, tables, links and anchors."""

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
    """A command of a console block, and the output shown below it (may be empty)."""

    line: str
    answer: str


def section(path: Path, heading: str) -> str:
    """Return the text below ``heading``, up to the next heading of the same or a higher level."""
    text = path.read_text(encoding="utf-8")
    outside = _FENCE.sub(lambda block: " " * len(block[0]), text)  # a comment in a script is not a heading
    headings = [(match, len(match[1])) for match in _HEADING.finditer(outside)]
    found, level = next((match, level) for match, level in headings if match[2] == heading)
    later = (match.start() for match, deep in headings if match.start() > found.start() and deep <= level)
    return text[found.end() : next(later, len(text))]


def block(text: str, language: str) -> str:
    """Return the one code block of ``language``."""
    (found,) = blocks(text, language)
    return found


def blocks(text: str, language: str) -> list[str]:
    """Return all code blocks of ``language``."""
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def commands(text: str) -> list[Command]:
    """Return the commands of all console blocks, each with the output below it."""
    sessions = "".join(body for kind, body in _FENCE.findall(text) if kind == "console")
    typed = (part.partition("\n") for part in re.split(r"^\$ ", sessions, flags=re.MULTILINE)[1:])
    return [Command(line.partition(" #")[0].rstrip(), answer) for line, _, answer in typed]


def table(text: str, *head: str) -> list[dict[str, str]]:
    """Return the rows of the table with the columns ``head``, as dicts; :func:`plain` is applied to each cell."""
    lines = iter(text.splitlines())
    next(line for line in lines if _cells(line) == list(head))
    next(lines)  # the line between head and rows
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [dict(zip(head, map(plain, _cells(row)), strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def plain(cell: str) -> str:
    """Remove the backticks of a cell that is one code span; return other cells unchanged."""
    return cell[1:-1] if re.fullmatch(r"`[^`]*`", cell) else cell


def links(text: str) -> list[str]:
    """Return the targets of all links outside code blocks."""
    return _LINK.findall(_FENCE.sub("", text))


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub generates for a document's headings."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings}

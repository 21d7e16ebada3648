#!/usr/bin/env python3
"""Generate docs/reference from the docstrings of the public modules.

    python tools/reference.py [OUTPUT]

The pages are committed, so that they can be read without a build; tests/docs/test_reference.py proves that they are
current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

from griffe import Extension, GriffeLoader, Object, load_extensions
from griffe2md import ConfigDict, render_object_docs

ROOT: Final = Path(__file__).resolve().parent.parent
MODULES: Final = ("backendpool.client", "backendpool.client.metrics", "backendpool.errors", "backendpool.testing")

_STYLE: Final[ConfigDict] = {
    "docstring_style": None,
    "heading_level": 1,
    "line_length": 100,
    "members_order": "alphabetical",
    "show_if_no_docstring": False,
    "show_object_full_path": False,
    "show_root_members_full_path": False,
    "show_signature_annotations": True,
    "show_submodules": False,
    "summary": False,
}

_ROLE: Final = re.compile(r":\w+:`[~.]*([^`]+)`")
_LITERAL: Final = re.compile(r"``([^`]+)``")
_LITERAL_BLOCK: Final = re.compile(r"(\S?)::\n\n((?:(?: {4}.*)?\n)+)")
_BASE: Final = re.compile(r"<code>\[(\w+)\]\(#[\w.]+\)</code>")


class MarkdownDocstrings(Extension):
    """Rewrite docstrings from reStructuredText to Markdown as they are loaded."""

    def on_instance(self, *, obj: Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Convert the reStructuredText that our docstrings use: roles, literals and literal blocks."""
    text = _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", text))
    return _LITERAL_BLOCK.sub(_code_block, text + "\n").rstrip()


def generate(output: Path) -> None:
    """Write a page for each of ``MODULES`` below ``output``/docs/reference."""
    loader = GriffeLoader(search_paths=[ROOT / "operator"], extensions=load_extensions(MarkdownDocstrings))
    loader.load("backendpool")
    loader.resolve_aliases(external=False)
    pages = output / "docs" / "reference"
    pages.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        page = render_object_docs(loader.modules_collection[module], _STYLE, format_md=True)
        # A class outside of the page has no heading that a link could lead to.
        page = _BASE.sub(r"`\1`", page)
        (pages / f"{module.removeprefix('backendpool.')}.md").write_text(page, encoding="utf-8")


def _code_block(block: re.Match[str]) -> str:
    """Return the block in a fence; text that leads to it keeps one colon, as in reStructuredText."""
    lead, code = block.groups()
    return f"{lead and lead + ':'}\n\n```\n{dedent(code).strip()}\n```\n\n"


if __name__ == "__main__":
    generate(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)

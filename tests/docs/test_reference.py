"""The API reference, generated from docstrings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.markdown import REPOSITORY
from tools.reference import markdown


def test_reference_is_current(tmp_path: Path) -> None:
    """Generating the pages again changes nothing; else run `make docs` and commit."""
    subprocess.run([sys.executable, REPOSITORY / "tools" / "reference.py", tmp_path], check=True)
    assert _pages(tmp_path) == _pages(REPOSITORY)


def test_docstrings_become_markdown() -> None:
    """Roles and literals become code spans, and literal blocks become fences."""
    text = "Raises :class:`~grpc.aio.AioRpcError` if ``timeout`` ends::\n\n    connect(``pool``)\n\nNo more."
    expected = "Raises `grpc.aio.AioRpcError` if `timeout` ends:\n\n```\nconnect(`pool`)\n```\n\nNo more."
    assert markdown(text) == expected
    assert markdown("Summary.\n\n::\n\n    one\n\n    two\n") == "Summary.\n\n\n\n```\none\n\ntwo\n```"


def _pages(root: Path) -> dict[str, str]:
    return {page.name: page.read_text(encoding="utf-8") for page in (root / "docs" / "reference").iterdir()}

"""docs/glossary.md compared with the code."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from tests.docs.markdown import REPOSITORY, plain, table

GLOSSARY = REPOSITORY / "docs" / "glossary.md"


def problems(glossary: str) -> list[str]:
    """Return the errors in the text of a glossary."""
    rows = table(glossary, "term", "meaning", "module")
    terms = [row["term"].casefold() for row in rows]
    found = [f"{term} is defined twice" for term, times in Counter(terms).items() if times > 1]
    found += [f"{after} comes after {before}" for before, after in pairwise(terms) if after < before]
    for row in rows:
        module = row["module"]
        if not any((root / module).is_file() for root in (REPOSITORY / "operator" / "backendpool", REPOSITORY)):
            found.append(f"{row['term']}: module {module} does not exist")
        if not 1 <= len(re.findall(r"[.](?= [A-Z]|$)", row["meaning"])) <= 2:
            found.append(f"{row['term']}: expected one or two sentences")
    defined = set(terms)
    mentioned = {term for row in rows for term in re.findall(r"\*([^*]+)\*", plain(row["meaning"]))}
    return [*found, *(f"{term} is not defined" for term in sorted(mentioned - defined))]


def test_glossary_is_sorted_unambiguous_and_current() -> None:
    """Terms are sorted and defined once, in one or two sentences, each with an existing module."""
    assert problems(GLOSSARY.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["| a | One. | `errors.py` |", "| A | Two. | `errors.py` |"], "a is defined twice"),
        (["| b | One. | `errors.py` |", "| a | Two. | `errors.py` |"], "a comes after b"),
        (["| a | One. | `missing.py` |"], "a: module missing.py does not exist"),
        (["| a | No sentence | `errors.py` |"], "a: expected one or two sentences"),
        (["| a | See *b*. | `errors.py` |"], "b is not defined"),
    ],
)
def test_each_problem_is_found(rows: list[str], problem: str) -> None:
    """The check reports each kind of error."""
    assert problems("\n".join(["| term | meaning | module |", "|---|---|---|", *rows])) == [problem]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_glossary_is_linked(document: str) -> None:
    """README.md and CONTRIBUTING.md link to the glossary."""
    assert "(docs/glossary.md)" in (REPOSITORY / document).read_text(encoding="utf-8")

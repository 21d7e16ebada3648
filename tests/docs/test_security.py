"""docs/security.md compared with the tests that it names, and checks of the manifests that it describes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.docs.markdown import REPOSITORY, section, table

SECURITY = REPOSITORY / "docs" / "security.md"
OPERATOR = REPOSITORY / "manifests" / "operator"


def read(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((OPERATOR / path).read_text(encoding="utf-8"))
    return document


def test_every_attempt_has_a_test() -> None:
    """Each row of the threat model, and the rest of the page, names existing tests."""
    rows = table(section(SECURITY, "What an author could try"), "attempt", "what stops it", "test")
    source = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE))
    assert {row["test"] for row in rows} <= there
    assert set(re.findall(r"`(test_\w+)`", SECURITY.read_text())) <= there


def test_listed_namespaces_are_those_with_rights() -> None:
    """In the namespaced overlay, the operator watches exactly the namespaces in which it gets permissions."""
    overlay = read("namespaced/kustomization.yaml")
    folders = [name for name in overlay["resources"] if not name.startswith("..")]
    (container,) = yaml.safe_load(overlay["patches"][0]["patch"])["spec"]["template"]["spec"]["containers"]
    (watched,) = (entry["value"] for entry in container["env"] if entry["name"] == "WATCH_NAMESPACES")
    assert watched.split(",") == folders
    assert [read(f"namespaced/{name}/kustomization.yaml")["namespace"] for name in folders] == folders


@pytest.mark.parametrize("overlay", ["kustomization.yaml", "namespaced/kustomization.yaml"])
def test_both_overlays_bring_the_resource_and_its_guard(overlay: str) -> None:
    """Both overlays install the CRD and the admission policy."""
    assert {entry.removeprefix("../") for entry in read(overlay)["resources"]} >= {"api", "base"}
    assert "admission.yaml" in read("api/kustomization.yaml")["resources"]

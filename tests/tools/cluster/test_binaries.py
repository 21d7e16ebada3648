"""Which versions of kind and kubectl on PATH are acceptable."""

import pytest

from tools.cluster import versions
from tools.cluster.binaries import suits_kind, suits_server, version
from tools.cluster.engine import has_builtin_buildkit


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("kind v0.33.0 go1.26.8 linux/amd64", (0, 33, 0)),
        ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", (1, 32, 4)),
        ("v1.37", (1, 37, 0)),
        ("", None),
    ],
)
def test_the_first_version_of_an_answer_counts(told: str, expected: tuple[int, int, int] | None) -> None:
    """The first version in the output counts; later ones are of other programs."""
    assert version(told) == expected


@pytest.mark.parametrize(
    ("told", "suits"),
    [(f"kind {versions.KIND_VERSION}", True), ("kind v99.0.0", True), ("kind v0.20.0", False), ("", False)],
)
def test_kind_must_be_the_pinned_release_or_later(told: str, suits: bool) -> None:
    """An older kind is rejected, since it cannot use the pinned node image."""
    assert suits_kind(told) is suits


@pytest.mark.parametrize(
    ("told", "suits"),
    [
        ("Client Version: v1.36.9", True),
        ("Client Version: v1.37.0", True),
        ("Client Version: v1.38.1", True),
        ("Client Version: v1.35.0", False),
        ("Client Version: v1.39.0", False),
        ("Client Version: v2.37.0", False),
        ("", False),
    ],
)
def test_kubectl_may_be_one_minor_version_away(told: str, suits: bool) -> None:
    """A kubectl more than one minor version away is rejected."""
    assert suits_server(told, "v1.37.2") is suits


@pytest.mark.parametrize(
    ("client", "builtin"),
    [
        ("20.10.24+dfsg1", True),
        ("18.09.1", True),
        ("18.06.0", False),
        ("23.0.0", False),
        ("28.2.2", False),
        ("", False),
    ],
)
def test_only_middle_aged_docker_clients_have_buildkit_without_a_plugin(client: str, builtin: bool) -> None:
    """Docker clients from 18.09 to 22 have BuildKit without a plugin."""
    assert has_builtin_buildkit(client) is builtin

"""The runc wrapper: removing capabilities that the host lacks."""

import json
from pathlib import Path

import pytest

from tools.cluster.runc_wrapper import missing, request, rewrite

ALL = (1 << 41) - 1
SYS_RESOURCE = 24


def test_missing_capabilities_are_named_by_their_bit() -> None:
    """Bit 24 is CAP_SYS_RESOURCE (capability.h)."""
    assert missing(ALL & ~(1 << SYS_RESOURCE), 40) == {"CAP_SYS_RESOURCE"}


def test_nothing_is_missing_of_a_full_set() -> None:
    """With all capabilities, nothing is missing."""
    assert missing(ALL, 40) == frozenset()


def test_capabilities_that_the_kernel_does_not_know_are_not_missing() -> None:
    """Capabilities that the kernel does not know are not missing."""
    assert missing((1 << 38) - 1, 37) == frozenset()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--root", "/run/x", "--log-format", "json", "create", "--bundle", "/b", "--pid-file", "p", "id"],
            ("create", "/b"),
        ),
        (["run", "-b", "/b", "id"], ("run", "/b")),
        (["run", "--bundle=/b", "id"], ("run", "/b")),
        (["exec", "--process", "/tmp/p", "--detach", "id"], ("exec", "/tmp/p")),
        (["delete", "--force", "id"], ("", "")),
        (["exec", "id", "true"], ("", "")),
        ([], ("", "")),
    ],
)
def test_the_file_that_runc_will_read_is_found(arguments: list[str], expected: tuple[str, str]) -> None:
    """The file is found for create, run, and exec with a process file."""
    assert request(arguments) == expected


def test_a_bundle_keeps_all_but_the_dropped_capabilities(tmp_path: Path) -> None:
    """Everything except the dropped capabilities is kept."""
    config = {
        "process": {"args": ["init"], "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "ambient": []}},
        "hostname": "node",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    rewrite("create", str(tmp_path), frozenset({"CAP_SYS_RESOURCE"}))
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "process": {"args": ["init"], "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": []}},
        "hostname": "node",
    }


def test_a_process_file_may_have_no_capabilities(tmp_path: Path) -> None:
    """A process file without capabilities is not changed."""
    file = tmp_path / "process"
    file.write_text(json.dumps({"args": ["sh"]}))
    rewrite("exec", str(file), frozenset({"CAP_SYS_RESOURCE"}))
    assert json.loads(file.read_text())["args"] == ["sh"]

"""The committed generated code."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from backendpool.proto.lookaside import lookaside_pb2
from backendpool.proto.orca import orca_pb2
from backendpool.proto.v1 import endpoints_pb2
from greet import greet_pb2

ROOT = Path(__file__).resolve().parents[2]


def generated(root: Path) -> dict[str, str]:
    """Return the generated files below the source roots, by path relative to ``root``."""
    folders = (root / "operator", root / "greet")
    files = (path for folder in folders for path in folder.rglob("*_pb2*.py*") if path.suffix != ".pyc")
    return {str(path.relative_to(root)): path.read_text() for path in files}


def test_committed_code_is_current(tmp_path: Path) -> None:
    """Generating again changes nothing; otherwise run `python tools/protos.py` and commit."""
    subprocess.run([sys.executable, ROOT / "tools/protos.py", tmp_path], check=True)
    fresh = generated(tmp_path)
    assert len(fresh) == 14
    assert generated(ROOT) == fresh


def test_descriptor_of_the_envoy_example_is_current(tmp_path: Path) -> None:
    """The Envoy example's descriptor equals the current proto."""
    subprocess.run([sys.executable, ROOT / "tools/protos.py", tmp_path], check=True)
    descriptor = Path("examples/envoy/greet.pb")
    assert (tmp_path / descriptor).read_bytes() == (ROOT / descriptor).read_bytes()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (orca_pb2, "backendpool/proto/orca/orca.proto"),
        (lookaside_pb2, "backendpool/proto/lookaside/lookaside.proto"),
        (endpoints_pb2, "backendpool/proto/v1/endpoints.proto"),
        (greet_pb2, "greet/greet.proto"),
    ],
)
def test_descriptors_are_registered_by_their_import_path(module: object, name: str) -> None:
    """Descriptors have their import paths, so they cannot clash with protos of an application."""
    file = descriptor_pool.Default().FindFileByName(name)
    assert file is module.DESCRIPTOR  # type: ignore[attr-defined]

"""The content of the wheel: the library, without the example and the tools."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from backendpool import __version__
from tests.docs.markdown import REPOSITORY

PROGRAM = """
import importlib.util, sys
import backendpool.client, backendpool.testing
from backendpool.cli import main
assert backendpool.client.__file__.startswith(sys.argv[1]), backendpool.client.__file__
assert not [name for name in ("greet", "tools", "tests", "bench") if importlib.util.find_spec(name)]
main(["--help"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", REPOSITORY)
    subprocess.run([sys.executable, *build], check=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_has_the_library_alone(wheel: Path) -> None:
    """The wheel has one package with type information."""
    assert {path.name.partition("-")[0] for path in wheel.iterdir()} == {"backendpool"}
    assert (wheel / "backendpool" / "py.typed").exists()


def test_version_has_one_source(wheel: Path) -> None:
    """The wheel's version equals the output of `backendpool --version`."""
    assert (wheel / f"backendpool-{__version__}.dist-info").is_dir()


def test_library_works_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    """Client, FakePool and command work with only the wheel and its dependencies."""
    # A folder of this variable is no site folder: what our editable install adds to the path does not count in it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(wheel), sysconfig.get_path("purelib")))}
    python = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run(
        [python, "-c", PROGRAM, str(wheel)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: backendpool" in done.stdout

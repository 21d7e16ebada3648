"""The wheel: it has the library alone, and the examples of docs/client.md work with it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from backendpool import __version__
from tests.docs.markdown import CLIENT, REPOSITORY, block, blocks, commands, section
from tests.unit.greet.servers import greet_servers

PROGRAM = """
import importlib.util, sys
import backendpool.client, backendpool.testing
from backendpool.cli import main
assert backendpool.client.__file__.startswith(sys.argv[1]), backendpool.client.__file__
assert not [name for name in ("greet", "tools", "tests", "bench") if importlib.util.find_spec(name)]
main(["--help"])
"""

WITHOUT_EXTRAS = """\
import sys
sys.modules.update(dict.fromkeys(("aiohttp", "kopf", "kubernetes", "prometheus_client", "yaml")))
"""
"""Makes the import of packages fail that the base install does not have."""


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


def run_with_wheel(wheel: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder`` with only the wheel and the packages of our environment."""
    # PYTHONPATH does not process .pth files, so the editable install of this repository has no effect.
    path = os.pathsep.join((str(wheel), sysconfig.get_path("purelib")))
    python = getattr(sys, "_base_executable", sys.executable)
    env = {**os.environ, "PYTHONPATH": path, **variables}
    return subprocess.run([python, *arguments], env=env, cwd=folder, capture_output=True, text=True, check=False)


def test_library_works_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    """Client, FakePool and command work with only the wheel and its dependencies."""
    done = run_with_wheel(wheel, tmp_path, "-c", PROGRAM, str(wheel))
    assert done.returncode == 0, done.stderr
    assert "usage: backendpool" in done.stdout


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with stubs that the protoc command of the client guide generated from greet.proto."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "greet").mkdir()
    shutil.copy(REPOSITORY / "greet" / "greet.proto", folder / "greet")
    (line,) = (one.line for one in commands(section(CLIENT, "Install")) if "protoc" in one.line)
    program, *arguments = shlex.split(line)
    assert program == "python"
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    subprocess.run([sys.executable, *arguments], cwd=folder, env={**os.environ, "PATH": path}, check=True)
    return folder


def test_client_guide_type_checks(wheel: Path, project: Path) -> None:
    """All Python examples of the client guide, and the generated stubs, pass `mypy --strict` with the wheel."""
    examples = [text for text in blocks(CLIENT.read_text(), "python") if "opentelemetry" not in text]  # untyped
    assert len(examples) == 6
    names = [f"example_{number}.py" for number in range(len(examples))]
    for name, text in zip(names, examples, strict=True):
        (project / name).write_text(text)
    done = run_with_wheel(wheel, project, "-m", "mypy", "--strict", "--cache-dir=.mypy_cache", *names)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_first_program_runs(wheel: Path, project: Path, tmp_path: Path) -> None:
    """The first program of the client guide needs the base install and generated stubs, and no extra."""
    path = tmp_path / "greet.json"
    text = block(section(CLIENT, "In a minute"), "python").replace("/tmp/greet.json", str(path))
    (project / "first_calls.py").write_text(WITHOUT_EXTRAS + text)
    async with greet_servers("127.0.0.1") as port:
        path.write_text(json.dumps({"endpoints": [f"127.0.0.1:{port}"]}))
        done = await asyncio.to_thread(run_with_wheel, wheel, project, "first_calls.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Hello, Ada Lovelace from pod: name(127.0.0.1)") == 4


def test_example_of_a_test_needs_no_plugin(wheel: Path, project: Path) -> None:
    """The test in the client guide passes with pytest alone, with the base install and generated stubs."""
    text = block(section(CLIENT, "Testing your code"), "python").replace("timeout=5", "timeout=50")
    (project / "test_greeting.py").write_text(WITHOUT_EXTRAS + text)
    options = ("--quiet", "-W", "error", "-p", "no:cacheprovider", "test_greeting.py")
    done = run_with_wheel(wheel, project, "-m", "pytest", *options, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout

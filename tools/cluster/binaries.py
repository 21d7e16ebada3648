"""kind and kubectl: from PATH if their versions fit, else our own from the cache."""

import re
import shutil
import sys
from pathlib import Path

from tools.cluster import process, versions
from tools.cluster.cache import digest, draft
from tools.cluster.console import Console
from tools.cluster.engine import Engine
from tools.cluster.errors import ClusterError
from tools.cluster.kubernetes_build import GO_HINT
from tools.cluster.settings import Settings

_VERSION = re.compile(r"v(\d+)\.(\d+)(?:\.(\d+))?")


def version(text: str) -> tuple[int, int, int] | None:
    """Return the first version in a program's output."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def suits_kind(told: str) -> bool:
    """Return whether this version of kind can create our clusters: the pinned release or a later one."""
    theirs, ours = version(told), version(versions.KIND_VERSION)
    return theirs is not None and ours is not None and theirs >= ours


def suits_server(told: str, server: str) -> bool:
    """Return whether this version of kubectl supports this server.

    Kubernetes supports one minor version of difference (https://kubernetes.io/releases/version-skew-policy/#kubectl).
    """
    client, api = version(told), version(server)
    return client is not None and api is not None and client[0] == api[0] and abs(client[1] - api[1]) <= 1


def kind(settings: Settings, console: Console) -> str:
    """Return the path of a suitable kind."""
    found = shutil.which("kind")
    if found is not None and suits_kind(process.try_answer([found, "version"]) or ""):
        return found
    own = settings.cache / "tools" / f"kind-{versions.KIND_VERSION}" / "kind"
    if own.exists():
        return str(own)
    log = process.new_log(settings.logs / "kind-install.log")
    module = f"{versions.KIND_MODULE}@{versions.KIND_VERSION}"
    hint = f"{GO_HINT}; or put kind {versions.KIND_VERSION} or later on PATH (https://kind.sigs.k8s.io)"
    with console.step("kind", starts=f"go install {module}, log {log}") as step:
        with draft(own.parent) as folder:
            process.work(["go", "install", module], log=log, env={"GOBIN": str(folder), "GOFLAGS": ""}, hint=hint)
        step.says(f"kind {versions.KIND_VERSION}, installed from source")
    return str(own)


def kubectl(image: str, engine: Engine, settings: Settings, console: Console) -> str:
    """Return the path of a kubectl that supports the servers of `image`."""
    identity = engine.ask("image", "inspect", "--format={{.Id}}", image).strip()
    server = _server_version(identity, engine, settings)
    found = shutil.which("kubectl")
    if found is not None and suits_server(process.try_answer([found, "version", "--client"]) or "", server):
        return found
    if sys.platform != "linux":
        hint = "install one (https://kubernetes.io/docs/tasks/tools), at most one minor version away"
        raise ClusterError(f"no installed kubectl supports Kubernetes {server}", hint=hint)
    own = settings.cache / "tools" / f"kubectl-{server}-{digest(identity)}" / "kubectl"
    if not own.exists():
        with console.step("kubectl") as step:
            _copy_out(engine, identity, "/usr/bin/kubectl", own)
            own.chmod(0o755)
            step.says(f"kubectl {server}, from the node image")
    return str(own)


def _server_version(image: str, engine: Engine, settings: Settings) -> str:
    """Return the Kubernetes version of a node image, from the file that kind reads too."""
    file = settings.cache / "tools" / f"node-{digest(image)}"
    if not file.exists():
        _copy_out(engine, image, "/kind/version", file)
    return file.read_text(encoding="utf-8").strip()


def _copy_out(engine: Engine, image: str, source: str, target: Path) -> None:
    container = engine.ask("create", image).strip()
    try:
        with draft(target) as path:
            engine.ask("cp", "--follow-link", f"{container}:{source}", str(path), timeout=300)
    finally:
        engine.ask("rm", container)

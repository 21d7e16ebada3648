"""The Docker engine: the one that answers, or one of our own on a bare Debian or Ubuntu where we are root."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tools.cluster import dockerd, packages, process
from tools.cluster.console import Console
from tools.cluster.errors import ClusterError
from tools.cluster.settings import Settings

_SYSTEMD = Path("/run/systemd/system")  # there where systemd is the init (sd_booted(3))
_INSTALL_HINT = "install Docker (https://docs.docker.com/engine/install) and start it, then run this again"


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine and the client to speak to it.

    `ours` says that we started it, so that its addresses are ours to choose and `down` ends it. `build_env` turns
    BuildKit on where the client and the engine have it.
    """

    docker: str
    version: str
    ours: bool
    buildkit: bool
    env: dict[str, str] = field(default_factory=dict)

    @property
    def build_env(self) -> dict[str, str]:
        """The environment of an image build."""
        return {**self.env, "DOCKER_BUILDKIT": "1" if self.buildkit else "0"}

    def ask(self, *arguments: str, timeout: float = 60.0) -> str:
        """What the docker client prints."""
        return process.answer([self.docker, *arguments], env=self.env, timeout=timeout)

    def try_ask(self, *arguments: str, timeout: float = 60.0) -> str | None:
        """What the docker client prints, or None when it fails."""
        return process.try_answer([self.docker, *arguments], env=self.env, timeout=timeout)

    def has_image(self, reference: str) -> bool:
        """Whether the engine holds this image."""
        return self.try_ask("image", "inspect", "--format={{.Id}}", reference) is not None


def find(settings: Settings) -> Engine | None:
    """The engine that answers, or None."""
    clients = _clients(os.environ.get("PATH", ""))
    if not clients:
        return None
    version = process.try_answer([clients[0], "version", "--format={{.Server.Version}}"], timeout=15)
    if version is None:
        return None
    docker, buildkit = _builder(clients)
    # kind runs the first docker on PATH; that must be the client that we found to work.
    path = f"{Path(docker).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return Engine(docker, version.strip(), dockerd.running(settings) is not None, buildkit, {"PATH": path})


def require(settings: Settings, console: Console) -> Engine:
    """The engine that answers; where there is none, one of our own."""
    with console.step("engine") as step:
        engine = find(settings) or _brought_up(settings, console)
        whose = "started by us" if engine.ours else "found running"
        builder = "BuildKit" if engine.buildkit else "the classic builder"
        step.says(f"Docker {engine.version}, {whose}, {builder}")
    return engine


def _brought_up(settings: Settings, console: Console) -> Engine:
    """An engine on a host where none answers: installed where it is missing, and started by us where nobody else does.

    Where systemd runs, the package that is installed starts an engine, which is then not ours to end.
    """
    _refuse_where_not_ours_to_start()
    packages.ensure(("dockerd", "iptables", "modprobe", "ip"), settings, console, _INSTALL_HINT)
    installed = find(settings)
    if installed is not None:
        return installed
    _refuse_where_not_ours_to_start()
    dockerd.start(settings)
    started = find(settings)
    if started is None:
        raise ClusterError("the Docker engine that was just started does not answer", log=dockerd.log(settings))
    return started


def _clients(path: str) -> list[str]:
    """Every docker client on the search path: one may lack what another has."""
    found = [shutil.which("docker", path=folder) for folder in path.split(os.pathsep) if folder]
    return list(dict.fromkeys(client for client in found if client is not None))


def _builder(clients: list[str]) -> tuple[str, bool]:
    """The client to use, and whether its builds go through BuildKit.

    From version 23 on a client needs its buildx plugin for BuildKit; before, BuildKit was built in.
    """
    for client in clients:
        version = process.try_answer([client, "version", "--format={{.Client.Version}}"], timeout=15) or ""
        if has_builtin_buildkit(version) or process.try_answer([client, "buildx", "version"], timeout=15) is not None:
            return client, True
    return clients[0], False


def has_builtin_buildkit(version: str) -> bool:
    """Whether a docker client of this version has BuildKit without a plugin."""
    major, _, rest = version.strip().partition(".")
    minor = rest.split(".")[0]
    return major.isdigit() and minor.isdigit() and (18, 9) <= (int(major), int(minor)) < (23, 0)


def _refuse_where_not_ours_to_start() -> None:
    host = os.environ.get("DOCKER_HOST")
    if host:
        raise ClusterError(
            f"no Docker engine answers at DOCKER_HOST={host}",
            hint="start it, or unset DOCKER_HOST, then run this again",
        )
    if os.geteuid() != 0:
        raise ClusterError("no Docker engine answers", hint=_INSTALL_HINT)
    if _SYSTEMD.exists() and shutil.which("dockerd"):
        hint = "systemctl start docker, then run this again"
        raise ClusterError("Docker is installed but does not answer", hint=hint)

"""The Docker engine: a running one, or our own on a bare Debian or Ubuntu as root."""

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
    """A Docker engine and a client for it.

    `ours` means that we started it: we choose its addresses, and `down` stops it. `build_env` enables BuildKit if
    client and engine support it.
    """

    docker: str
    version: str
    ours: bool
    buildkit: bool
    env: dict[str, str] = field(default_factory=dict)

    @property
    def build_env(self) -> dict[str, str]:
        """Return the environment for image builds."""
        return {**self.env, "DOCKER_BUILDKIT": "1" if self.buildkit else "0"}

    def ask(self, *arguments: str, timeout: float = 60.0) -> str:
        """Return the output of the docker client."""
        return process.answer([self.docker, *arguments], env=self.env, timeout=timeout)

    def try_ask(self, *arguments: str, timeout: float = 60.0) -> str | None:
        """Return the output of the docker client, or None on failure."""
        return process.try_answer([self.docker, *arguments], env=self.env, timeout=timeout)

    def has_image(self, reference: str) -> bool:
        """Return whether the engine holds this image."""
        return self.try_ask("image", "inspect", "--format={{.Id}}", reference) is not None


def find(settings: Settings) -> Engine | None:
    """Return a running engine, or None."""
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
    """Return a running engine; start our own if there is none."""
    with console.step("engine") as step:
        engine = find(settings) or _brought_up(settings, console)
        whose = "started by us" if engine.ours else "found running"
        builder = "BuildKit" if engine.buildkit else "the classic builder"
        step.says(f"Docker {engine.version}, {whose}, {builder}")
    return engine


def _brought_up(settings: Settings, console: Console) -> Engine:
    """Return an engine on a host without a running one: install it if necessary, and start it unless systemd does.

    With systemd, installing the package starts the engine, so it is not ours to stop.
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
        raise ClusterError("the Docker engine that was just started does not respond", log=dockerd.log(settings))
    return started


def _clients(path: str) -> list[str]:
    """Return all docker clients on PATH, since their features differ."""
    found = [shutil.which("docker", path=folder) for folder in path.split(os.pathsep) if folder]
    return list(dict.fromkeys(client for client in found if client is not None))


def _builder(clients: list[str]) -> tuple[str, bool]:
    """Return the client to use, and whether its builds use BuildKit.

    Since version 23, a client needs its buildx plugin for BuildKit; before, BuildKit was built in.
    """
    for client in clients:
        version = process.try_answer([client, "version", "--format={{.Client.Version}}"], timeout=15) or ""
        if has_builtin_buildkit(version) or process.try_answer([client, "buildx", "version"], timeout=15) is not None:
            return client, True
    return clients[0], False


def has_builtin_buildkit(version: str) -> bool:
    """Return whether a docker client of this version has BuildKit without a plugin."""
    major, _, rest = version.strip().partition(".")
    minor = rest.split(".")[0]
    return major.isdigit() and minor.isdigit() and (18, 9) <= (int(major), int(minor)) < (23, 0)


def _refuse_where_not_ours_to_start() -> None:
    host = os.environ.get("DOCKER_HOST")
    if host:
        raise ClusterError(
            f"no Docker engine responds at DOCKER_HOST={host}",
            hint="start it, or unset DOCKER_HOST, then run this again",
        )
    if os.geteuid() != 0:
        raise ClusterError("no Docker engine responds", hint=_INSTALL_HINT)
    if _SYSTEMD.exists() and shutil.which("dockerd"):
        hint = "systemctl start docker, then run this again"
        raise ClusterError("Docker is installed but does not respond", hint=hint)

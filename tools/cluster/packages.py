"""Installs programs from the distribution, on Debian or Ubuntu as root."""

import os
import shutil
from collections.abc import Sequence

from tools.cluster import process
from tools.cluster.console import Console
from tools.cluster.errors import ClusterError
from tools.cluster.settings import Settings

_PACKAGES = {
    "dockerd": ("docker.io",),
    "iptables": ("iptables",),
    "modprobe": ("kmod",),
    "ip": ("iproute2",),
    "debootstrap": ("debootstrap", "debian-archive-keyring"),
    "faketime": ("faketime",),
}


def ensure(programs: Sequence[str], settings: Settings, console: Console, hint: str) -> None:
    """Install the packages of missing programs; raises ClusterError with `hint` if that is not possible."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"{' and '.join(missing)}: not installed", hint=hint)
    names = [name for program in missing for name in _PACKAGES[program]]
    log = process.new_log(settings.logs / "apt.log")
    with console.step("packages", starts=f"installing {', '.join(names)}, log {log}") as step:
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *names]):
            process.work(
                ["apt-get", *arguments],
                log=log,
                env={"DEBIAN_FRONTEND": "noninteractive"},
                hint="make the distribution's package mirror reachable, then run this again",
            )
        step.says(f"{', '.join(names)}, from the distribution")

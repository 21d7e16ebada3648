"""Debian root file systems by debootstrap: the base of images without a registry."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import host, packages, process, versions
from tools.cluster.cache import digest, draft, draft_name, remove
from tools.cluster.console import Console
from tools.cluster.errors import ClusterError
from tools.cluster.settings import Settings

# Nothing of this is of use in a container, and every megabyte is copied to every node.
_LEFT_OUT = (
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./dev/*",
)


@dataclass(frozen=True, slots=True)
class RootFileSystem:
    """A minimal Debian with these packages."""

    name: str
    packages: tuple[str, ...]

    @property
    def key(self) -> str:
        """Equal for equal content."""
        return digest(versions.DEBIAN_SUITE, platform.machine(), *self.packages, *_LEFT_OUT)

    def archive(self, cache: Path) -> Path:
        """Return the path of the finished tar archive."""
        return cache / "rootfs" / f"{self.name}-{self.key}.tar"


NODE = RootFileSystem(
    "node",
    (
        *("systemd", "dbus", "kmod", "mount", "util-linux", "procps", "bash", "jq", "curl", "ca-certificates"),
        *("conntrack", "iptables", "nftables", "iproute2", "ethtool", "pigz"),
        *("containerd", "runc", "containernetworking-plugins", "libseccomp2"),
    ),
)
PYTHON = RootFileSystem("python", ("python3", "python3-venv", "ca-certificates"))


def require(image: str, way_out: str, settings: Settings, console: Console) -> None:
    """Install what is needed to build a root file system instead of `image`; raises ClusterError with `way_out`."""
    hint = f"make the registry reachable, {way_out}, or run this as root on Debian or Ubuntu"
    if os.geteuid() != 0:
        raise ClusterError(f"{image} cannot be pulled, and building a replacement needs root", hint=hint)
    packages.ensure(("debootstrap",), settings, console, hint)


def build(system: RootFileSystem, settings: Settings, console: Console) -> Path:
    """Return the archive of `system`; builds it unless it is in the cache."""
    archive = system.archive(settings.cache)
    if archive.exists():
        return archive
    log = process.new_log(settings.logs / f"debootstrap-{system.name}.log")
    starts = f"debootstrap of a Debian {versions.DEBIAN_SUITE} ({system.name}), log {log}"
    with console.step("rootfs", starts=starts) as step:
        folder = draft_name(archive.with_suffix(".folder"))
        try:
            _debootstrap(system, folder, settings.debian_mirror, log)
            with draft(archive) as path:
                _pack(folder, path, log)
        finally:
            clear(folder)
        step.says(f"Debian {versions.DEBIAN_SUITE} for {system.name}: {archive.stat().st_size >> 20} MB")
    return archive


def _debootstrap(system: RootFileSystem, folder: Path, mirror: str | None, log: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    include = f"--include={','.join(system.packages)}"
    process.work(
        [
            "debootstrap",
            "--variant=minbase",
            include,
            versions.DEBIAN_SUITE,
            str(folder),
            *([mirror] if mirror else []),
        ],
        log=log,
        env={"DEBIAN_FRONTEND": "noninteractive"},
        hint="make a Debian mirror reachable, or set DEBIAN_MIRROR=...; then run this again",
    )


def _pack(folder: Path, archive: Path, log: Path) -> None:
    options = ["--numeric-owner", "--sort=name", *(f"--exclude={pattern}" for pattern in _LEFT_OUT)]
    process.work(["tar", "--create", f"--file={archive}", f"--directory={folder}", *options, "."], log=log)


def clear(folder: Path) -> None:
    """Delete the folder of a debootstrap, which cannot resume, and unmount what a killed one left mounted in it."""
    for point in sorted((point for point in host.mounts() if point.startswith(f"{folder}/")), reverse=True):
        if process.try_answer(["umount", point]) is None:
            raise ClusterError(f"{point} is still mounted", hint=f"unmount it (umount -l {point}), then run this again")
    remove(folder)

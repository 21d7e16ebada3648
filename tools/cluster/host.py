"""Access to the host's kernel: mounts and the cgroup v1 freezer; no-ops if it is not Linux."""

from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_FREEZER = Path("/sys/fs/cgroup/freezer")  # of cgroup v1; a frozen process of v2 can be killed


def mounts() -> list[str]:
    """Return all mount points in the order of mounting."""
    if not _MOUNTS.exists():
        return []
    return [entry.split(" ")[1] for entry in _MOUNTS.read_text(encoding="utf-8").splitlines()]


def thaw(container: str, freezer: Path = _FREEZER) -> bool:
    """Thaw the frozen processes of this container; returns whether any was frozen.

    runc freezes a pod briefly to set its limits. If runc is killed then, the pod stays frozen; under cgroup v1 a frozen
    process cannot be killed, so its container cannot be removed.
    """
    states = [path for folder in freezer.glob(f"*/{container}") for path in folder.rglob("freezer.state")]
    frozen = [path for path in states if path.read_text(encoding="utf-8").strip() == "FROZEN"]
    for path in frozen:
        path.write_text("THAWED", encoding="utf-8")
    return bool(frozen)

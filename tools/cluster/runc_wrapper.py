"""runc for hosts that lack a capability, as containers and sandboxes often do.

The nodes of kind are privileged containers: the engine requests every capability from runc, and runc rejects those that
the host cannot grant. This wrapper removes them from the request. It is installed as a separate file that the engine
runs for each container, so it imports only light modules of the standard library.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNC = "runc"

# By bit number, as in the kernel's include/uapi/linux/capability.h.
_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip


def missing(bounding: int, last: int) -> frozenset[str]:
    """Return the capabilities up to number `last` that are not in the set `bounding` (CapBnd in /proc/PID/status)."""
    known = enumerate(_NAMES[: last + 1])
    return frozenset(f"CAP_{name}" for bit, name in known if not bounding >> bit & 1)


def missing_here() -> frozenset[str]:
    """Return the capabilities that the kernel knows and this process can never have."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    last = Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="utf-8")
    return missing(int(bounding, 16), int(last))


def without(process: dict[str, Any], dropped: frozenset[str]) -> dict[str, Any]:
    """Return the `process` object of the OCI runtime specification without the capabilities `dropped`."""
    sets = process.get("capabilities") or {}
    return {**process, "capabilities": {name: [c for c in caps if c not in dropped] for name, caps in sets.items()}}


def request(arguments: Sequence[str]) -> tuple[str, str]:
    """Return runc's command in `arguments`, and its bundle or process file, or two empty strings."""
    command = next((word for word in arguments if word in ("create", "run", "exec")), "")
    names = ("--process", "-p") if command == "exec" else ("--bundle", "-b")
    words = [part for word in arguments for part in word.split("=", 1)] if command else []
    value = next((words[at + 1] for at, word in enumerate(words[:-1]) if word in names), "")
    return (command, value) if value else ("", "")


def rewrite(command: str, value: str, dropped: frozenset[str]) -> None:
    """Remove `dropped` from the bundle (create, run) or the process file (exec) that runc is about to read."""
    path = Path(value) if command == "exec" else Path(value) / "config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    if command == "exec":
        document = without(document, dropped)
    else:
        document["process"] = without(document["process"], dropped)
    path.write_text(json.dumps(document), encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Rewrite the request, then execute runc."""
    command, value = request(arguments)
    if command:
        rewrite(command, value, missing_here())
    os.execvp(RUNC, [RUNC, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])

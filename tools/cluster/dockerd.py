"""Our own Docker engine: started with our configuration, stopped without traces.

Its addresses are from the benchmark range 198.18.0.0/15 (RFC 2544), which no network of the host uses.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.cluster import firewall, host, process, runc_wrapper
from tools.cluster.cache import remove
from tools.cluster.errors import ClusterError
from tools.cluster.settings import Settings

BRIDGE = "docker0"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


def log(settings: Settings) -> Path:
    """Return the path of the engine's log."""
    return settings.logs / "dockerd.log"


def _folder(settings: Settings) -> Path:
    return settings.cache / "engine"


def _state(settings: Settings) -> Path:
    return _folder(settings) / "state.json"


def configuration(folder: Path, runtime: Path | None) -> dict[str, object]:
    """Return the daemon.json of an engine that keeps everything below `folder`."""
    settings: dict[str, object] = {
        "data-root": str(folder / "data"),
        "pidfile": str(folder / "dockerd.pid"),
        "bip": "198.18.240.1/24",
        "default-address-pools": [{"base": "198.18.248.0/21", "size": 24}],
        "exec-opts": ["native.cgroupdriver=cgroupfs"],  # there is no systemd to ask
        "log-opts": {"max-size": "10m"},
    }
    if runtime is not None:
        settings["runtimes"] = {"runc-bounded": {"path": str(runtime)}}
        settings["default-runtime"] = "runc-bounded"
    return settings


def running(settings: Settings) -> int | None:
    """Return the process id of our engine, or None."""
    try:
        pid = int((_folder(settings) / "dockerd.pid").read_text(encoding="utf-8"))
        command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    # After a reboot the number may be another program's; a dead process that nobody has reaped has no command.
    return pid if Path(command[0]).name == "dockerd" else None


def start(settings: Settings) -> None:
    """Start the engine and wait until it responds; it outlives this process."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dockerd.pid").unlink(missing_ok=True)
    if not _state(settings).exists():  # after a crash the first record is the one of a clean host
        _state(settings).write_text(
            json.dumps({"firewall": firewall.save(), "mounts": host.mounts()}), encoding="utf-8"
        )
    runtime = _install_wrapper(folder) if runc_wrapper.missing_here() else None
    config = folder / "daemon.json"
    config.write_text(json.dumps(configuration(folder, runtime), indent=2), encoding="utf-8")
    log(settings).parent.mkdir(parents=True, exist_ok=True)
    with log(settings).open("a", encoding="utf-8") as out:
        daemon = subprocess.Popen(
            ["dockerd", f"--config-file={config}"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
        )
    try:
        _wait_until_it_answers(daemon, settings)
    except BaseException:
        _end(daemon)
        _take_back(settings)
        raise
    # It is to outlive this process; without a return code Popen would warn of it when it is collected.
    daemon.returncode = 0


def _wait_until_it_answers(daemon: "subprocess.Popen[bytes]", settings: Settings) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.try_answer(["docker", "info"], timeout=10) is None:
        if daemon.poll() is not None or time.monotonic() > deadline:
            hint = "fix the problem in the log, then run this again"
            raise ClusterError("the Docker engine did not start", log=log(settings), hint=hint)
        time.sleep(0.2)


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    """Kill an engine that does not respond, so that neither the next run nor the user finds it."""
    daemon.terminate()
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _install_wrapper(folder: Path) -> Path:
    """Write the runc wrapper as a separate program; -I and -S keep its start short."""
    python = Path(sys.executable).resolve()
    source = Path(runc_wrapper.__file__).read_text(encoding="utf-8")
    program = folder / "runc-bounded"
    program.write_text(f"#!{python} -IS\n{source}", encoding="utf-8")
    program.chmod(0o755)
    return program


def stop(settings: Settings) -> None:
    """Stop our engine and undo its changes to the host; its data remain for the next start."""
    pid = running(settings)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while running(settings) is not None:
            if time.monotonic() > deadline:
                hint = f"run kill -9 {pid}, then run this again"
                raise ClusterError(f"the Docker engine (pid {pid}) does not stop", log=log(settings), hint=hint)
            time.sleep(0.1)
    _take_back(settings)


def _take_back(settings: Settings) -> None:
    """Undo the changes of an engine to the host, as far as the previous state was recorded."""
    if not _state(settings).exists():
        return
    before = json.loads(_state(settings).read_text(encoding="utf-8"))
    process.try_answer(["ip", "link", "delete", BRIDGE])
    firewall.restore(before["firewall"])
    for point in reversed(host.mounts()):
        if point not in before["mounts"] and _is_ours(point, settings):
            process.try_answer(["umount", point])
    remove(_state(settings))


def _is_ours(point: str, settings: Settings) -> bool:
    return point.startswith(("/run/docker/", "/var/run/docker/", f"{_folder(settings)}/"))

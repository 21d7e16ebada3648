"""Fakes of docker, kind, kubectl, dockerd and apt-get that act on a state file.

Run under the name of the program. There is a function per supported command; other commands fail.
"""

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

PROGRAM, ARGUMENTS = Path(sys.argv[0]), sys.argv[1:]
WORDS = [word for word in ARGUMENTS if not word.startswith("-")]
FILE = Path(os.environ["FAKE_HOST"])
NODES = ("backendpool-control-plane", "backendpool-worker", "backendpool-worker2")

HostState = dict[str, Any]


def docker_version(host: HostState) -> str:
    if not host["engine"] and "--format={{.Client.Version}}" not in ARGUMENTS:
        fail("Cannot connect to the Docker daemon")
    return "28.0.0"


docker_info = docker_version


def docker_buildx(_: HostState) -> str:
    return "buildx"


def docker_image(host: HostState) -> str:
    image = WORDS[-1]
    return f"sha256:{image.encode().hex()}" if image in host["images"] else fail("No such image")


def docker_pull(host: HostState) -> str:
    image = WORDS[-1]
    if host["registry"] == "stalls":
        os.execv("/bin/sleep", ["sleep", "60"])
    if host["registry"] != "answers":
        fail(f"Error response from daemon: {host['registry']}")
    host["images"].append(image)
    return f"{image}: Pulling from library"


def docker_build(host: HostState) -> str:
    host["images"] += [word.removeprefix("--tag=") for word in ARGUMENTS if word.startswith("--tag=")]
    return ""


def docker_exec(host: HostState) -> str:
    """Answer `ctr images label` and `ctr images list` on a node."""
    if "label" in WORDS:
        host["loaded"].append([WORDS[1], " - ".join(WORDS[-2:])])
    return "\n".join(line for node, line in host["loaded"] if node == WORDS[1])


def docker_create(_: HostState) -> str:
    return "container"


def docker_cp(_: HostState) -> str:
    source, target = WORDS[-2:]
    Path(target).write_text("v1.37.2" if source.endswith("/kind/version") else "")
    return ""


def docker_rm(_: HostState) -> str:
    return ""


def docker_ps(host: HostState) -> str:
    if "--all" not in ARGUMENTS:
        return "\n".join(host["nodes"])
    roles = {name: "control-plane" if "control-plane" in name else "worker" for name in host["nodes"]}
    return "\n".join(f"{name}|{roles[name]}|{state}" for name, state in host["nodes"].items())


def docker_network(host: HostState) -> str:
    if "kind" not in host["networks"]:
        fail("no such network")
    if "rm" in WORDS:
        host["networks"].remove("kind")
    return ""


def kind_version(_: HostState) -> str:
    return "kind v0.33.0 go1.26 linux/amd64"


def kind_create(host: HostState) -> str:
    host["networks"] = sorted({*host["networks"], "kind"})
    save(host)
    if host["creation"] == "killed":
        os.kill(os.getppid(), 9)
        sys.exit(1)
    host["nodes"] = dict.fromkeys(NODES, "running")
    if host["creation"] == "fails":
        save(host)
        fail("ERROR: failed to create cluster")
    Path(ARGUMENTS[ARGUMENTS.index("--kubeconfig") + 1]).write_text("")
    return ""


def kind_delete(host: HostState) -> str:
    host["nodes"] = {}
    return ""


def kind_load(_: HostState) -> str:
    return ""


def kind_export(_: HostState) -> str:
    Path(WORDS[2], "kubelet.log").touch()
    return ""


def kubectl_version(_: HostState) -> str:
    return "Client Version: v1.37.0"


def kubectl_config(_: HostState) -> str:
    return "kubeconfig of the user's" if "--context=mine" in ARGUMENTS else fail("no context exists")


def kubectl_get(host: HostState) -> str:
    if "--raw=/readyz" in ARGUMENTS:
        return kubectl_wait(host)
    conditions = {"conditions": [{"type": "Ready", "status": "True" if host["ready"] else "False"}]}
    return json.dumps({"items": [{"metadata": {"name": name}, "status": conditions} for name in host["nodes"]]})


def kubectl_wait(host: HostState) -> str:
    return "ok" if host["ready"] else fail("timed out")


kubectl_rollout = kubectl_wait


def dockerd_(host: HostState) -> str:
    (config,) = (Path(word.removeprefix("--config-file=")) for word in ARGUMENTS)
    Path(json.loads(config.read_text())["pidfile"]).write_text(str(os.getpid()))
    host["engine"] = not host["dockerd_hangs"]
    save(host)
    os.execv("/bin/sleep", ["dockerd", "60"])


def apt_get_update(_: HostState) -> str:
    return ""


def apt_get_install(host: HostState) -> str:
    for name in ("dockerd", "iptables"):
        PROGRAM.with_name(name).symlink_to(PROGRAM.resolve())
    host["engine"] = host["package_starts_engine"]
    return ""


def ip_link(_: HostState) -> str:
    return ""


def save(host: HostState) -> None:
    FILE.write_text(json.dumps(host))


def fail(reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}\n")
    sys.exit(1)


if __name__ == "__main__":
    lock = FILE.with_suffix(".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # until this program ends, or becomes another
    now = json.loads(FILE.read_text())
    now["calls"].append(" ".join([PROGRAM.name, *ARGUMENTS]))
    save(now)
    command = "_".join([PROGRAM.name.replace("-", "_"), *(WORDS[:1] or [""])])
    answer = globals().get(command, lambda _: fail(f"the fake does not know `{now['calls'][-1]}`"))(now)
    save(now)
    sys.stdout.write(f"{answer}\n" if answer else "")

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
FILE = Path(os.environ["FAKE_WORLD"])
NODES = ("backendpool-control-plane", "backendpool-worker", "backendpool-worker2")

World = dict[str, Any]


def docker_version(world: World) -> str:
    if not world["engine"] and "--format={{.Client.Version}}" not in ARGUMENTS:
        fail("Cannot connect to the Docker daemon")
    return "28.0.0"


docker_info = docker_version


def docker_buildx(_: World) -> str:
    return "buildx"


def docker_image(world: World) -> str:
    image = WORDS[-1]
    return f"sha256:{image.encode().hex()}" if image in world["images"] else fail("No such image")


def docker_pull(world: World) -> str:
    image = WORDS[-1]
    if world["registry"] == "stalls":
        os.execv("/bin/sleep", ["sleep", "60"])
    if world["registry"] != "answers":
        fail(f"Error response from daemon: {world['registry']}")
    world["images"].append(image)
    return f"{image}: Pulling from library"


def docker_build(world: World) -> str:
    world["images"] += [word.removeprefix("--tag=") for word in ARGUMENTS if word.startswith("--tag=")]
    return ""


def docker_exec(world: World) -> str:
    """Answer `ctr images label` and `ctr images list` on a node."""
    if "label" in WORDS:
        world["loaded"].append([WORDS[1], " - ".join(WORDS[-2:])])
    return "\n".join(line for node, line in world["loaded"] if node == WORDS[1])


def docker_create(_: World) -> str:
    return "container"


def docker_cp(_: World) -> str:
    source, target = WORDS[-2:]
    Path(target).write_text("v1.37.2" if source.endswith("/kind/version") else "")
    return ""


def docker_rm(_: World) -> str:
    return ""


def docker_ps(world: World) -> str:
    if "--all" not in ARGUMENTS:
        return "\n".join(world["nodes"])
    roles = {name: "control-plane" if "control-plane" in name else "worker" for name in world["nodes"]}
    return "\n".join(f"{name}|{roles[name]}|{state}" for name, state in world["nodes"].items())


def docker_network(world: World) -> str:
    if "kind" not in world["networks"]:
        fail("no such network")
    if "rm" in WORDS:
        world["networks"].remove("kind")
    return ""


def kind_version(_: World) -> str:
    return "kind v0.33.0 go1.26 linux/amd64"


def kind_create(world: World) -> str:
    world["networks"] = sorted({*world["networks"], "kind"})
    save(world)
    if world["creation"] == "killed":
        os.kill(os.getppid(), 9)
        sys.exit(1)
    world["nodes"] = dict.fromkeys(NODES, "running")
    if world["creation"] == "fails":
        save(world)
        fail("ERROR: failed to create cluster")
    Path(ARGUMENTS[ARGUMENTS.index("--kubeconfig") + 1]).write_text("")
    return ""


def kind_delete(world: World) -> str:
    world["nodes"] = {}
    return ""


def kind_load(_: World) -> str:
    return ""


def kind_export(_: World) -> str:
    Path(WORDS[2], "kubelet.log").touch()
    return ""


def kubectl_version(_: World) -> str:
    return "Client Version: v1.37.0"


def kubectl_config(_: World) -> str:
    return "kubeconfig of the user's" if "--context=mine" in ARGUMENTS else fail("no context exists")


def kubectl_get(world: World) -> str:
    if "--raw=/readyz" in ARGUMENTS:
        return kubectl_wait(world)
    conditions = {"conditions": [{"type": "Ready", "status": "True" if world["ready"] else "False"}]}
    return json.dumps({"items": [{"metadata": {"name": name}, "status": conditions} for name in world["nodes"]]})


def kubectl_wait(world: World) -> str:
    return "ok" if world["ready"] else fail("timed out")


kubectl_rollout = kubectl_wait


def dockerd_(world: World) -> str:
    (config,) = (Path(word.removeprefix("--config-file=")) for word in ARGUMENTS)
    Path(json.loads(config.read_text())["pidfile"]).write_text(str(os.getpid()))
    world["engine"] = not world["dockerd_hangs"]
    save(world)
    os.execv("/bin/sleep", ["dockerd", "60"])


def apt_get_update(_: World) -> str:
    return ""


def apt_get_install(world: World) -> str:
    for name in ("dockerd", "iptables"):
        PROGRAM.with_name(name).symlink_to(PROGRAM.resolve())
    world["engine"] = world["package_starts_engine"]
    return ""


def ip_link(_: World) -> str:
    return ""


def save(world: World) -> None:
    FILE.write_text(json.dumps(world))


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

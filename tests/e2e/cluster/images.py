"""The project's own images: built from the repository's Dockerfile, and copied onto the nodes that lack them."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import kind, process, pull, rootfs
from .cache import digest, digest_files
from .cluster import Cluster
from .console import Console, Step
from .engine import Engine
from .kind import Node
from .settings import REPOSITORY, Settings

TARGETS = ("operator", "greet")
_INPUTS_LABEL = "backendpool.io/inputs"
_LOADED_LABEL = "backendpool.io/image"
_BASE = re.compile(r"^ARG BASE=(\S+)", re.MULTILINE)
_COPY = re.compile(r"^COPY +(?!.*--from)(?:--\S+ +)*(.+)$", re.MULTILINE)
# What lets a build reach package indexes the way this host does.
_HOST_FILES = ("etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the project, and the engine's id of its content."""

    reference: str
    id: str


def reference(target: str) -> str:
    """The name by which manifests use the image of a Dockerfile target."""
    return f"backendpool/{target}:dev"


def base_of(dockerfile: str) -> str:
    """The base image that a Dockerfile asks for unless it is told another."""
    found = _BASE.search(dockerfile)
    if found is None:
        raise ValueError("the Dockerfile has no `ARG BASE=...`")
    return found[1]


def copied(dockerfile: str) -> list[str]:
    """The paths of the repository that a Dockerfile copies."""
    return [source for words in _COPY.findall(dockerfile) for source in words.split()[:-1]]


def inputs(repository: Path, base: str) -> str:
    """A hash of all that the images are made of, as git sees the files: tracked, or new and not ignored."""
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    which = ["-z", "--cached", "--others", "--exclude-standard"]
    listed = process.answer(
        ["git", "-C", str(repository), "ls-files", *which, "--", *copied(text)],
        hint="run this in a git clone of the repository",
    )
    names = [name for name in listed.split("\0") if name]
    return digest(base, digest_files(repository, [*names, "Dockerfile", ".dockerignore"]))


def build(engine: Engine, settings: Settings, console: Console) -> list[Image]:
    """The project's images, built unless those in the engine are of the same content."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    with console.step("images") as step:
        base = _base(base_of(text), engine, settings, console, step)
        wanted = inputs(REPOSITORY, base)
        stale = [target for target in TARGETS if _inputs(reference(target), engine) != wanted]
        log = process.new_log(settings.logs / "images.log")
        for target in stale:
            step.progress(f"building {reference(target)}, log {log}")
            options = ["--network=host", f"--build-arg=BASE={base}", f"--target={target}", f"--tag={reference(target)}"]
            process.work(
                [engine.docker, "build", *options, f"--label={_INPUTS_LABEL}={wanted}", str(REPOSITORY)],
                log=log,
                env=engine.build_env,
            )
        if stale:  # what was just replaced has no name any more, and would fill the disk
            engine.try_ask("image", "prune", "--force", f"--filter=label={_INPUTS_LABEL}")
        names = ", ".join(reference(target) for target in TARGETS)
        step.says(f"{names}: {'built' if stale else 'unchanged'}")
        return [Image(reference(target), _id(reference(target), engine)) for target in TARGETS]


def _inputs(image: str, engine: Engine) -> str | None:
    told = engine.try_ask("image", "inspect", f'--format={{{{index .Config.Labels "{_INPUTS_LABEL}"}}}}', image)
    return told.strip() if told is not None else None


def _id(image: str, engine: Engine) -> str:
    return engine.ask("image", "inspect", "--format={{.Id}}", image).strip()


def _base(wanted: str, engine: Engine, settings: Settings, console: Console, step: Step) -> str:
    """The base image: python's own, or a Debian of ours with python where that cannot be pulled."""
    host_files = [name for name in _HOST_FILES if Path("/", name).is_file()]
    key = digest(rootfs.PYTHON.key, digest_files(Path("/"), host_files))
    ours = f"backendpool/python:{key}"
    if engine.has_image(ours):
        return ours
    if engine.has_image(wanted) or pull.pulled(wanted, engine, settings, step):
        return wanted
    archive = rootfs.build(rootfs.PYTHON, settings, console)
    log = process.new_log(settings.logs / "python-image.log")
    root = f"backendpool/rootfs-python:{rootfs.PYTHON.key}"
    process.work([engine.docker, "import", str(archive), root], log=log, env=engine.env)
    with tempfile.TemporaryDirectory(prefix="python-image-", dir=settings.cache) as folder:
        context = Path(folder)
        for name in host_files:
            (context / "host" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/", name), context / "host" / name)
        (context / "host").mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(
            f"FROM {root}\nENV LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n"
            "RUN ln -s python3 /usr/bin/python\nCOPY host /\n",
            encoding="utf-8",
        )
        process.work([engine.docker, "build", f"--tag={ours}", str(context)], log=log, env=engine.build_env)
    return ours


def deliver(cluster: Cluster, settings: Settings, console: Console) -> None:
    """Have the project's images, as the repository stands, on the cluster's workers."""
    if cluster.engine is None or cluster.kind is None:
        names = " and ".join(reference(target) for target in TARGETS)
        console.say(f"{cluster.name} is a cluster of yours: nothing is pushed; make {names} reachable there")
        return
    images = build(cluster.engine, settings, console)
    _load(images, cluster.kind, cluster.engine, cluster.nodes, settings, console)


def _load(
    images: list[Image],
    kind_path: str,
    engine: Engine,
    nodes: tuple[Node, ...],
    settings: Settings,
    console: Console,
) -> None:
    """Copy the images onto the workers, unless they hold this very content."""
    with console.step("load") as step:
        workers = [node.name for node in nodes if node.is_worker]
        held = {worker: _held(worker, engine) for worker in workers}
        behind = [worker for worker in workers if any(held[worker].get(i.reference) != i.id for i in images)]
        missing = [i for i in images if any(held[worker].get(i.reference) != i.id for worker in behind)]
        if not missing:
            step.says(f"{', '.join(workers)} hold these images already")
            return
        names = [image.reference for image in missing]
        step.progress(f"copying {', '.join(names)} onto {', '.join(behind)}")
        kind.load(kind_path, names, behind, engine, settings.logs / "kind-load.log")
        for worker in behind:
            for image in missing:
                _note(image, worker, engine)
        step.says(f"{', '.join(names)} onto {', '.join(behind)}")


# containerd's own ids differ from the engine's, and an import replaces an image's labels. A label with the engine's id
# is therefore there exactly as long as the content that we loaded.


def _note(image: Image, node: str, engine: Engine) -> None:
    name = f"docker.io/{image.reference}"
    engine.ask("exec", node, "ctr", "--namespace=k8s.io", "images", "label", name, f"{_LOADED_LABEL}={image.id}")


def _held(node: str, engine: Engine) -> dict[str, str]:
    return noted(engine.ask("exec", node, "ctr", "--namespace=k8s.io", "images", "list"))


def noted(listing: str) -> dict[str, str]:
    """The engine's ids of the images that we loaded, by name, in the text of `ctr images list`."""
    found = re.findall(rf"^docker\.io/(\S+) .*\b{re.escape(_LOADED_LABEL)}=([\w:]+)", listing, re.MULTILINE)
    return dict(found)

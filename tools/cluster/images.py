"""The images of the project and of test clients: built, and copied to nodes that lack their content."""

import re
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import base_images, kind, process
from tools.cluster.base_images import Bases
from tools.cluster.cache import digest, digest_files, files_below
from tools.cluster.cluster import Cluster
from tools.cluster.console import Console, Step, line
from tools.cluster.engine import Engine
from tools.cluster.errors import ClusterError
from tools.cluster.kind import Node
from tools.cluster.lock import Hold
from tools.cluster.settings import REPOSITORY, Settings

TARGETS = ("operator", "greet")
_INPUTS_LABEL = "backendpool.io/inputs"
_LOADED_LABEL = "backendpool.io/image"
_BASE = re.compile(r"^ARG BASE=(\S+)", re.MULTILINE)
_COPY = re.compile(r"^COPY +(?!.*--from)(?:--\S+ +)*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the project, and the engine's id of its content."""

    reference: str
    id: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """The inputs of the images: base images, and a hash of these and the sources."""

    bases: Bases
    inputs: str


def base_of(dockerfile: str) -> str:
    """Return the default base image of a Dockerfile."""
    found = _BASE.search(dockerfile)
    if found is None:
        raise ValueError("the Dockerfile has no `ARG BASE=...`")
    return found[1]


def copied(dockerfile: str) -> list[str]:
    """Return the paths of the repository that a Dockerfile copies."""
    return [source for words in _COPY.findall(dockerfile) for source in words.split()[:-1]]


def inputs(repository: Path, bases: Bases) -> str:
    """Return a hash of all inputs of the images: files that git tracks, and new ones that it does not ignore."""
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    which = ["-z", "--cached", "--others", "--exclude-standard"]
    listed = process.answer(
        ["git", "-C", str(repository), "ls-files", *which, "--", *copied(text)],
        hint="run this in a git clone of the repository",
    )
    names = [name for name in listed.split("\0") if name]
    return digest(*bases.arguments, digest_files(repository, [*names, "Dockerfile", ".dockerignore"]))


def build(engine: Engine, hold: Hold, settings: Settings, console: Console) -> list[Image]:
    """Return the project's images; builds them unless the engine has the same content."""
    with console.step("images") as step:
        wanted = recipe(engine, settings, console, step)
        stale = [target for target in TARGETS if _inputs(settings.image(target), engine) != wanted.inputs]
        if stale:
            hold.require_alone("replace the images")
        log = process.new_log(settings.logs / "images.log")
        for target in stale:
            step.progress(f"building {settings.image(target)}, log {log}")
            make(target, settings.image(target), wanted, engine, log)
        if stale:  # what was just replaced has no name any more, and would fill the disk
            engine.try_ask("image", "prune", "--force", f"--filter=label={_INPUTS_LABEL}")
        names = [settings.image(target) for target in TARGETS]
        step.says(f"{', '.join(names)}: {'built' if stale else 'unchanged'}")
        return [Image(name, _id(name, engine)) for name in names]


def recipe(engine: Engine, settings: Settings, console: Console, step: Step) -> Recipe:
    """Return how to build the images from the current sources."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    bases = base_images.provide(base_of(text), engine, settings, console, step)
    return Recipe(bases, inputs(REPOSITORY, bases))


def make(target: str, name: str, wanted: Recipe, engine: Engine, log: Path) -> None:
    """Build a target of the Dockerfile with the engine's builder, and tag it."""
    # The host's network: it may reach package indexes where the engine's own does not.
    options = ["--network=host", *wanted.bases.arguments, f"--label={_INPUTS_LABEL}={wanted.inputs}"]
    command = [engine.docker, "build", *options, f"--target={target}", f"--tag={name}", str(REPOSITORY)]
    process.work(command, log=log, env=engine.build_env)


def _inputs(image: str, engine: Engine) -> str | None:
    told = engine.try_ask("image", "inspect", f'--format={{{{index .Config.Labels "{_INPUTS_LABEL}"}}}}', image)
    return told.strip() if told is not None else None


def _id(image: str, engine: Engine) -> str:
    return engine.ask("image", "inspect", "--format={{.Id}}", image).strip()


def deliver(cluster: Cluster, hold: Hold, settings: Settings, console: Console) -> None:
    """Load the project's images of the current sources onto the workers."""
    if cluster.engine is None or cluster.kind is None:
        names = " and ".join(settings.image(target) for target in TARGETS)
        console.say(line("images", f"{names}; push them, since {cluster.name} must be able to pull them"))
        return
    images = build(cluster.engine, hold, settings, console)
    _load(images, cluster.kind, cluster.engine, cluster.nodes, hold, settings, console)


def deliver_client(name: str, context: Path, cluster: Cluster, settings: Settings, console: Console) -> str:
    """Build and load the image of a test client; the tag of its name is a hash of its content.

    The project's greet image exists by then. Raises ClusterError for a cluster of the user's.
    """
    if cluster.engine is None or cluster.kind is None:
        raise ClusterError(
            f"images of test clients cannot be loaded into {cluster.name}", hint="use CLUSTER=kind for this"
        )
    greet = _id(settings.image("greet"), cluster.engine)
    reference = f"{settings.images}/{name}:{digest(greet, digest_files(context, files_below(context)))}"
    with console.step("client image") as step:
        known = cluster.engine.has_image(reference)
        if not known:
            log = process.new_log(settings.logs / f"{name}-image.log")
            command = [cluster.engine.docker, "build", f"--tag={reference}", str(context)]
            process.work(command, log=log, env=cluster.engine.build_env)
        step.says(f"{reference}: {'unchanged' if known else 'built'}")
    image = Image(reference, _id(reference, cluster.engine))
    _load([image], cluster.kind, cluster.engine, cluster.nodes, None, settings, console)
    return reference


def _load(
    images: list[Image],
    kind_path: str,
    engine: Engine,
    nodes: tuple[Node, ...],
    hold: Hold | None,
    settings: Settings,
    console: Console,
) -> None:
    """Copy the images to the workers, unless they have this content.

    Without a `hold` nothing is replaced, since the names include a hash of the content.
    """
    with console.step("load") as step:
        workers = [node.name for node in nodes if node.is_worker]
        held = {worker: _held(worker, engine) for worker in workers}
        behind = [worker for worker in workers if any(held[worker].get(i.reference) != i.id for i in images)]
        missing = [i for i in images if any(held[worker].get(i.reference) != i.id for worker in behind)]
        if not missing:
            step.says(f"{', '.join(workers)} already have these images")
            return
        if hold is not None:
            hold.require_alone("replace the images")
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
    """Return the engine's ids of loaded images by name, from the output of `ctr images list`."""
    found = re.findall(rf"^docker\.io/(\S+) .*\b{re.escape(_LOADED_LABEL)}=([\w:]+)", listing, re.MULTILINE)
    return dict(found)

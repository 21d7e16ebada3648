"""The base images of the project's images: python's official image, or our own Debian with python instead.

Build stages use a different base than run stages: only builds may know how this host reaches package indexes, which may
include a password.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import process, pull, rootfs
from tools.cluster.cache import digest, digest_files
from tools.cluster.console import Console, Step, line
from tools.cluster.engine import Engine
from tools.cluster.settings import Settings

# What lets a build reach package indexes the way this host does.
_HOST_FILES = ("etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
_DOCKERFILE = """\
ARG ROOT
FROM ${ROOT} AS run
ENV LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
RUN ln -s python3 /usr/bin/python

FROM run AS build
COPY host /
"""


@dataclass(frozen=True, slots=True)
class Bases:
    """The base images of the Dockerfile's run stages and build stages."""

    run: str
    build: str

    @property
    def arguments(self) -> list[str]:
        """Return the arguments for `docker build`."""
        return [f"--build-arg=BASE={self.run}", f"--build-arg=BUILD_BASE={self.build}"]


def provide(wanted: str, engine: Engine, settings: Settings, console: Console, step: Step) -> Bases:
    """Make the engine hold the base images: `wanted`, or its substitute."""
    host_files = [name for name in _HOST_FILES if Path("/", name).is_file()]
    run = f"backendpool/python:{digest(rootfs.PYTHON.key, _DOCKERFILE)}"
    ours = Bases(run, f"backendpool/python-build:{digest(run, digest_files(Path('/'), host_files))}")
    if engine.has_image(ours.run) and engine.has_image(ours.build):
        return ours
    if engine.has_image(wanted):
        return Bases(wanted, wanted)
    failure = pull.failure(wanted, engine, settings, step)
    if failure is None:
        return Bases(wanted, wanted)
    console.say(line("images", f"building a Debian instead of {wanted}, which cannot be pulled: {failure}"))
    rootfs.require(wanted, f"load {wanted} into the engine (docker load)", settings, console)
    _build(ours, host_files, rootfs.build(rootfs.PYTHON, settings, console), engine, settings)
    return ours


def _build(bases: Bases, host_files: list[str], archive: Path, engine: Engine, settings: Settings) -> None:
    log = process.new_log(settings.logs / "python-image.log")
    root = f"backendpool/rootfs-python:{rootfs.PYTHON.key}"
    process.work([engine.docker, "import", str(archive), root], log=log, env=engine.env)
    with tempfile.TemporaryDirectory(prefix="python-image-", dir=settings.cache) as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(_DOCKERFILE, encoding="utf-8")
        (context / "host").mkdir()
        for name in host_files:
            (context / "host" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/", name), context / "host" / name)
        for target, name in (("run", bases.run), ("build", bases.build)):
            options = [f"--build-arg=ROOT={root}", f"--target={target}", f"--tag={name}"]
            process.work([engine.docker, "build", *options, folder], log=log, env=engine.build_env)

"""The node image: the stock image if it can be pulled, else one built from source.

The built image is equivalent to kind's, made of Debian packages and Go modules, which need no image registry.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import kubernetes_build, process, pull, rootfs, versions
from tools.cluster.cache import digest, digest_files, files_below
from tools.cluster.console import Console
from tools.cluster.engine import Engine
from tools.cluster.errors import ClusterError
from tools.cluster.kubernetes_build import GO_HINT, SOURCE, KubernetesBuild
from tools.cluster.settings import Settings

_COMPONENTS = "backendpool/kubernetes"
_TARGETS = ("component", "coredns", "pause")
_SANDBOX_IMAGE = re.compile(r'^\s*sandbox(?:_image)? = "([^"]+)"', re.MULTILINE)


def identity(settings: Settings) -> str:
    """Return what determines the image of `provide`, without asking the engine or a registry."""
    return settings.node_image or f"{versions.STOCK_NODE_IMAGE} or {_Recipe.of(settings).reference}"


def provide(engine: Engine, settings: Settings, console: Console) -> str:
    """Return the node image, which the engine then holds: the user's choice, the stock image, or our own."""
    if settings.node_image is not None:
        return _named(settings.node_image, engine, console)
    built = _Recipe.of(settings)
    with console.step("node image") as step:
        if engine.has_image(versions.STOCK_NODE_IMAGE):
            step.says(f"{versions.STOCK_NODE_IMAGE}, here already")
            return versions.STOCK_NODE_IMAGE
        if engine.has_image(built.reference):
            step.says(f"{built.reference}, built earlier")
            return built.reference
        failure = pull.failure(versions.STOCK_NODE_IMAGE, engine, settings, step)
        if failure is None:
            step.says(f"{versions.STOCK_NODE_IMAGE}, pulled")
            return versions.STOCK_NODE_IMAGE
        step.says(f"building it from source, because the stock image cannot be pulled: {failure}")
    built.build(engine, settings, console)
    return built.reference


def _named(reference: str, engine: Engine, console: Console) -> str:
    with console.step("node image", starts=f"{reference}, as NODE_IMAGE says") as step:
        if not engine.has_image(reference):
            engine.ask("pull", reference, timeout=1800)
        step.says(f"{reference}, as NODE_IMAGE says")
    return reference


@dataclass(frozen=True, slots=True)
class _Recipe:
    """The inputs of an image from source."""

    kubernetes: KubernetesBuild
    key: str

    @classmethod
    def of(cls, settings: Settings) -> "_Recipe":
        kubernetes = kubernetes_build.wanted(settings)
        files = digest_files(SOURCE, ["Dockerfile", *(f"files/{name}" for name in files_below(SOURCE / "files"))])
        return cls(kubernetes, digest(kubernetes.key, rootfs.NODE.key, versions.KIND_VERSION, files))

    @property
    def reference(self) -> str:
        return f"backendpool/node:{self.kubernetes.version}-{self.key}"

    def build(self, engine: Engine, settings: Settings, console: Console) -> None:
        _require_what_builds(settings, console)
        process.beside(
            lambda: kubernetes_build.build(self.kubernetes, settings, console),
            lambda: _file_systems(settings, console),
        )
        log = process.new_log(settings.logs / "node-image.log")
        with console.step("node image", starts=f"assembling {self.reference}, log {log}") as step:
            root = f"backendpool/rootfs-node:{rootfs.NODE.key}"
            if not engine.has_image(root):
                archive = rootfs.NODE.archive(settings.cache)
                process.work([engine.docker, "import", str(archive), root], log=log, env=engine.env)
            with tempfile.TemporaryDirectory(prefix="node-image-", dir=settings.cache) as context:
                self._assemble(engine, settings, Path(context), root, log)
            step.says(f"{self.reference}, built from source")

    def _assemble(self, engine: Engine, settings: Settings, context: Path, root: str, log: Path) -> None:
        """Fill the build context, build the images that a node starts with, then the node image that contains them."""
        kind_files = kubernetes_build.kind_base_files(settings)
        shutil.copytree(SOURCE / "files", context / "files")
        shutil.copytree(kind_files, context / "kind-files", copy_function=shutil.copyfile)
        os.link(self.kubernetes.kubernetes, context / "kubernetes")
        os.link(self.kubernetes.kubectl, context / "kubectl")
        os.link(self.kubernetes.pause, context / "pause")
        (context / "version").write_text(self.kubernetes.version, encoding="utf-8")

        def build(target: str, tag: str) -> None:
            options = [f"--file={SOURCE / 'Dockerfile'}", f"--build-arg=ROOT={root}", f"--target={target}"]
            process.work(
                [engine.docker, "build", *options, f"--tag={tag}", str(context)], log=log, env=engine.build_env
            )

        for target in _TARGETS:
            build(target, f"{_COMPONENTS}:{target}")
        images = context / "images"
        images.mkdir()
        saved = [f"{_COMPONENTS}:{target}" for target in _TARGETS]
        process.work([engine.docker, "save", f"--output={images / 'kubernetes.tar'}", *saved], log=log, env=engine.env)
        sandbox = _SANDBOX_IMAGE.findall((kind_files / "etc/containerd/config.toml").read_text(encoding="utf-8"))
        names = [*self._kubeadm_images(context), *sandbox]
        (images / "names").write_text("".join(f"{name} {source_of(name)}\n" for name in names), encoding="utf-8")
        build("node", self.reference)

    def _kubeadm_images(self, context: Path) -> list[str]:
        """Return the images with which this version of kubeadm starts a cluster."""
        kubeadm = context / "kubeadm"  # the binary acts as the program whose name it is called by
        kubeadm.symlink_to("kubernetes")
        version = f"--kubernetes-version={self.kubernetes.version}"
        return process.answer([str(kubeadm), "config", "images", "list", version]).split()


def source_of(image: str) -> str:
    """Return our substitute for an image of the control plane, as containerd names it."""
    name = image.rsplit("/", 1)[-1].partition(":")[0]
    return f"docker.io/{_COMPONENTS}:{name if name in _TARGETS else 'component'}"


def _file_systems(settings: Settings, console: Console) -> None:
    """Build the Debian of the node, and that of the project's images if python's cannot be pulled either."""
    rootfs.build(rootfs.NODE, settings, console)
    rootfs.build(rootfs.PYTHON, settings, console)


def _require_what_builds(settings: Settings, console: Console) -> None:
    if shutil.which("go") is None:
        raise ClusterError(f"{versions.STOCK_NODE_IMAGE} cannot be pulled, and building one needs Go", hint=GO_HINT)
    rootfs.require(versions.STOCK_NODE_IMAGE, "set NODE_IMAGE=... to another image", settings, console)

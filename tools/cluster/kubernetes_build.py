"""Builds Kubernetes from source with the host's Go toolchain.

node-image/ holds the source of one Go program that contains nearly all components. The compiler caches finished
packages, so an interrupted build resumes. The progress is the number of packages built so far.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import process, versions
from tools.cluster.cache import digest, digest_files, draft
from tools.cluster.console import Console
from tools.cluster.errors import ClusterError
from tools.cluster.settings import PACKAGE, Settings

SOURCE = PACKAGE / "node-image"
_TAGS = "providerless,selinux_disabled"
_COMPILER = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
_PROGRAMS = {"kubernetes": ".", "kubectl": "./kubectl", "pause": "./pause"}
"""The Go package of each."""

_PACKAGE_LINE = re.compile(r"^[\w.\-]+(/[\w.\-~]+)*$")
GO_HINT = "check that Go is installed (https://go.dev/dl) and can download modules (`go env GOPROXY`)"


@dataclass(frozen=True, slots=True)
class KubernetesBuild:
    """The programs of one Kubernetes version."""

    version: str
    key: str
    folder: Path

    @property
    def kubernetes(self) -> Path:
        """The multi-call binary with all programs of a node."""
        return self.folder / "kubernetes"

    @property
    def kubectl(self) -> Path:
        """kubectl, separate because it is started for each command."""
        return self.folder / "kubectl"

    @property
    def pause(self) -> Path:
        """The program that holds a pod's namespaces."""
        return self.folder / "pause"


def wanted(settings: Settings) -> KubernetesBuild:
    """Return the build of the sources in this repository."""
    version = required_version((SOURCE / "go.mod").read_text(encoding="utf-8"), "k8s.io/kubernetes")
    sources = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.go")]
    key = digest(digest_files(SOURCE, [*sources, "go.mod", "go.sum"]), _TAGS, *link_flags(version))
    return KubernetesBuild(version, key, settings.cache / "kubernetes" / f"{version}-{key}")


def required_version(go_mod: str, module: str) -> str:
    """Return the version of `module` in a go.mod."""
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise ClusterError(f"node-image/go.mod does not require {module}")
    return found[1]


def link_flags(version: str) -> list[str]:
    """Return linker flags that set the version, as in Kubernetes' own build (hack/lib/version.sh)."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/component-base/version.gitCommit": "0" * 40,
        "k8s.io/component-base/version.gitTreeState": "archive",
        "k8s.io/component-base/version.buildDate": "1970-01-01T00:00:00Z",
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return ["-s", "-w", *(f"-X={name}={value}" for name, value in stamps.items())]


def build(wanted: KubernetesBuild, settings: Settings, console: Console) -> None:
    """Build what the cache does not have."""
    if wanted.folder.exists():
        return
    log = process.new_log(settings.logs / "kubernetes-build.log")
    starts = f"building {wanted.version} from source, 8 to 15 minutes the first time, log {log}"
    with console.step("kubernetes", starts=starts) as step:
        done, total = _count_packages(log)

        def show(text: str) -> None:
            nonlocal done
            if is_package(text):
                done += 1
                step.progress(progress(done, total))

        flags = ["-trimpath", f"-tags={_TAGS}", f"-ldflags={' '.join(link_flags(wanted.version))}"]
        with draft(wanted.folder) as folder:
            folder.mkdir()
            for name, package in _PROGRAMS.items():
                process.work(
                    ["go", "build", "-v", *flags, "-o", str(folder / name), package],
                    log=log,
                    env=_COMPILER,
                    cwd=SOURCE,
                    on_line=show,
                    hint="run this again: it resumes",
                )
        step.says(f"{wanted.version} built from source: {wanted.kubernetes.stat().st_size >> 20} MB")


def _count_packages(log: Path) -> tuple[int, int]:
    """Return the number of built packages and the total. Downloads the modules first."""
    process.work(["go", "mod", "download"], log=log, env=_COMPILER, cwd=SOURCE, hint=GO_HINT)
    stale = "-f={{if .Stale}}-{{else}}+{{end}}"
    told = process.answer(
        ["go", "list", "-deps", "-trimpath", f"-tags={_TAGS}", stale, *_PROGRAMS.values()],
        env=_COMPILER,
        cwd=SOURCE,
        timeout=300,
        hint=GO_HINT,
    )
    states = told.split()
    return states.count("+"), len(states)


def is_package(text: str) -> bool:
    """Return whether a line of `go build -v` names a built package; other lines are about downloads or errors."""
    return _PACKAGE_LINE.match(text) is not None


def progress(done: int, total: int) -> str:
    """Format the progress of a build, in packages."""
    return f"{min(done, total)} of {total} packages ({min(done, total) * 100 // max(total, 1)} %)"


def kind_base_files(settings: Settings) -> Path:
    """Return the files of kind's node images, from the source of the pinned release."""
    module = f"{versions.KIND_MODULE}@{versions.KIND_VERSION}"
    told = process.answer(["go", "mod", "download", "-json", module], cwd=settings.cache, timeout=300, hint=GO_HINT)
    return Path(json.loads(told)["Dir"]) / "images" / "base" / "files"

"""The project's images: their inputs, and which content a node has."""

import subprocess
from pathlib import Path

import pytest

from tools.cluster.base_images import Bases
from tools.cluster.images import base_of, copied, inputs, noted
from tools.cluster.node_image import source_of

DOCKERFILE = """\
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
COPY requirements/image.txt requirements/
COPY pyproject.toml README.md ./
COPY --chown=1:1 operator operator
FROM ${BASE} AS greet
COPY --from=build /venv /venv
"""

BASES = Bases("python", "python")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone with one tracked source file."""
    (tmp_path / "operator").mkdir()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "operator" / "a.py").write_text("a")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    for arguments in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_the_dockerfile_says_what_is_copied() -> None:
    """Copies from another stage are no inputs."""
    assert copied(DOCKERFILE) == ["requirements/image.txt", "pyproject.toml", "README.md", "operator"]


def test_the_dockerfile_says_its_base() -> None:
    """The base image is read from the Dockerfile's ARG."""
    assert base_of(DOCKERFILE) == "python:3.13-slim"
    with pytest.raises(ValueError, match="ARG BASE"):
        base_of("FROM scratch\n")


@pytest.mark.parametrize("name", ["operator/a.py", "operator/new.py", "Dockerfile", "pyproject.toml", ".dockerignore"])
def test_a_change_of_an_input_asks_for_a_build(repository: Path, name: str) -> None:
    """A change of a tracked file, a new file or the Dockerfile triggers a build."""
    before = inputs(repository, BASES)
    (repository / name).write_text(DOCKERFILE + "# changed\n")
    assert inputs(repository, BASES) != before


@pytest.mark.parametrize("name", ["docs.md", "operator/a.pyc"])
def test_a_change_of_anything_else_does_not(repository: Path, name: str) -> None:
    """Files that are not copied, or that git ignores, do not."""
    before = inputs(repository, BASES)
    (repository / name).write_text("changed")
    assert inputs(repository, BASES) == before


def test_another_base_asks_for_a_build(repository: Path) -> None:
    """Another base image triggers a build."""
    bases = (BASES, Bases("other", "python"), Bases("python", "other"))
    assert len({inputs(repository, each) for each in bases}) == 3


def test_a_node_tells_which_content_it_holds() -> None:
    """An image that was loaded by other means has no label with its content."""
    listing = (
        "REF TYPE DIGEST SIZE PLATFORMS LABELS\n"
        "docker.io/backendpool/greet:dev application/x sha256:1 80 MiB linux/amd64 "
        "backendpool.io/image=sha256:abc,io.cri-containerd.image=managed\n"
        "docker.io/backendpool/operator:dev application/x sha256:2 80 MiB linux/amd64 io.cri-containerd.image=managed\n"
    )
    assert noted(listing) == {"backendpool/greet:dev": "sha256:abc"}


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ("registry.k8s.io/kube-apiserver:v1.37.2", "component"),
        ("registry.k8s.io/etcd:3.7.0-0", "component"),
        ("registry.k8s.io/coredns/coredns:v1.14.6", "coredns"),
        ("registry.k8s.io/pause:3.10.2", "pause"),
    ],
)
def test_each_image_of_the_control_plane_has_a_stand_in(image: str, source: str) -> None:
    """Every image of the control plane has a substitute."""
    assert source_of(image) == f"docker.io/backendpool/kubernetes:{source}"

"""Fixtures of the e2e tests: a real cluster with the operator in it, and a fresh namespace for each test."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from . import deploy
from .cluster import Cluster, ensure, load_images
from .kubectl import Kubectl

ARTIFACTS = deploy.REPOSITORY / "artifacts" / "e2e-logs"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Tests run in several processes, which share one cluster: the first sets it up, and the others find it so."""
    with Path(__file__).open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster, with the project's images on its nodes; its logs are kept where a test failed."""
    with one_at_a_time():
        found = ensure()
        load_images(found)
    yield found
    if request.session.testsfailed:
        found.export_logs(ARTIFACTS)
        print(f"\nlogs of the cluster: {ARTIFACTS.relative_to(deploy.REPOSITORY)}/")


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return deploy.kubectl_of(cluster)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, kubectl: Kubectl) -> Kubectl:
    """The operator, running in the cluster from the built image and manifests/operator."""
    with one_at_a_time():
        deploy.operator(cluster)
    return kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, held to the restricted Pod Security Standard, deleted at its end."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = f"e2e-{words[:40].strip('-')}-{uuid4().hex[:6]}"
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that share a namespace must run in one process: better no run than one that fails now and then."""
    if not session.config.getoption("loadgroup", default=False):
        return
    for item in session.items:
        grouped = item.get_closest_marker("xdist_group") is not None
        assert not grouped or "@" in item.nodeid, f"pytest-xdist does not keep the group of {item.nodeid} together"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder needs the cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)

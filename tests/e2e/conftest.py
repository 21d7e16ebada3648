"""Fixtures of the e2e tests: the cluster, the deployed operator, and a namespace per test."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.support import failures, xds_clients
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster, ClusterError, deploy, find, using
from tools.cluster.kubectl import Kubectl


@contextmanager
def exclusively(what: str = __file__) -> Iterator[None]:
    """Hold a lock on the file ``what``, which excludes the other processes of this run."""
    with Path(what).open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Set up the cluster in the main process and hold it for the whole run."""
    if hasattr(session.config, "workerinput") or session.config.getoption("collectonly"):
        return (yield)
    try:
        with using("e2e tests") as cluster:
            shutil.rmtree(failures.FOLDER, ignore_errors=True)
            try:
                return (yield)
            finally:
                if session.testsfailed and cluster.engine is not None:
                    cluster.export_logs(failures.FOLDER / "cluster")
    except ClusterError as error:
        raise pytest.exit.Exception(error.report(), returncode=1) from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save logs and events of a failed test before its teardown deletes them."""
    report = yield
    if report.failed and report.when != "teardown":
        with exclusively():
            report.sections.append(("Saved from the cluster", failures.keep(item)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the folder of the saved logs if a test failed."""
    if terminalreporter.stats.keys() & {"failed", "error"}:
        place = failures.FOLDER.relative_to(deploy.REPOSITORY)
        terminalreporter.write_line(f"logs of failed tests and of the cluster: {place}/", red=True)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster, with the project's images on its nodes."""
    return find()


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return deploy.kubectl_of(cluster)


@pytest.fixture(scope="session")
def kubectl_with_operator(cluster: Cluster, kubectl: Kubectl) -> Kubectl:
    """A kubectl for a cluster in which the operator runs, from the built image and manifests/operator."""
    with exclusively():
        deploy.operator(cluster)
    return kubectl


@pytest.fixture(scope="session")
def go_client(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the image of the xDS client in Go."""
    with exclusively(xds_clients.__file__):
        return xds_clients.go(cluster, tmp_path_factory.mktemp("go"))


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, under the restricted Pod Security Standard."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    with temporary_namespace(kubectl, words[:40].strip("-")) as name:
        yield name


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check that pytest-xdist keeps groups together: tests that share a namespace must run in one process."""
    if not session.config.getoption("loadgroup", default=False):
        return
    for item in session.items:
        grouped = item.get_closest_marker("xdist_group") is not None
        assert not grouped or "@" in item.nodeid, f"pytest-xdist ignores the group of {item.nodeid}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder as ``cluster``, and run long tests first, so that none is left alone at the end."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("long"):
        return 0
    return 1 if item.get_closest_marker("xdist_group") else 2

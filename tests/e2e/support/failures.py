"""Events and pod logs of a failed test, saved before its namespace is deleted."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl, KubectlError

FOLDER = deploy.REPOSITORY / "artifacts" / "e2e-logs"
"""Has a folder for each failed test of the last run, and `cluster/` for the logs of the nodes."""


def keep(item: pytest.Item) -> str:
    """Save logs and events of the operator's namespace and of those that the test's fixtures name; return a report."""
    fixtures = getattr(item, "funcargs", {})
    kubectl = next((value for value in fixtures.values() if isinstance(value, Kubectl)), None)
    if kubectl is None:
        return "nothing saved: the test failed before it used the cluster"
    folder = FOLDER / re.sub(r"[^\w.-]+", "-", item.nodeid.rpartition("/")[2]).strip("-")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        there = kubectl("get", "namespaces", "--output=name", "--request-timeout=10s").stdout.split()
        names = [deploy.OPERATOR_NAMESPACE, *concerned(there, repr(fixtures))]
        kubectl("cluster-info", "dump", f"--namespaces={','.join(names)}", f"--output-directory={folder}", timeout=180)
    except (KubectlError, subprocess.TimeoutExpired) as error:
        return f"cannot save all logs: {error}"
    return f"logs and events of {', '.join(names)} are in {folder.relative_to(deploy.REPOSITORY)}/"


def concerned(namespaces: list[str], fixtures: str) -> list[str]:
    """Return the test namespaces among ``namespaces`` (in kubectl's output format) that ``fixtures`` names."""
    names = [name.removeprefix("namespace/") for name in namespaces]
    return [name for name in names if name.startswith(("e2e-", "greet-")) and f"'{name}'" in fixtures]

"""Changes of a running program's wall clock by libfaketime; the monotonic clock is not affected."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.faults.workloads import Pod, config_map
from tools.cluster import ClusterError, packages, settings
from tools.cluster.console import Console
from tools.cluster.kubectl import Kubectl, eventually

_LIBRARY = "libfaketimeMT.so.1"
_FOLDER = "/etc/clock"
_AHEAD = "/run/clock"


def config(namespace: str) -> dict[str, Any]:
    """Return a ConfigMap with the library from this machine's distribution; skip the test if it is unavailable."""
    try:
        packages.ensure(("faketime",), settings.from_environment(os.environ, Path.home()), Console(), "")
    except ClusterError as error:
        pytest.skip(f"needs libfaketime from Debian or Ubuntu: {error}")
    (library,) = Path("/usr/lib").glob(f"*/faketime/{_LIBRARY}")
    return config_map(namespace, "clock", {}, {_LIBRARY: library.read_bytes()})


def settable(container: str) -> Pod:
    """Return the fields of a pod's spec that make the clock of ``container`` settable."""
    env = {
        "LD_PRELOAD": f"{_FOLDER}/{_LIBRARY}",
        "FAKETIME_TIMESTAMP_FILE": f"{_AHEAD}/seconds",
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return {
        "containers": [
            {
                "name": container,
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "volumeMounts": [
                    {"name": "clock", "mountPath": _FOLDER, "readOnly": True},
                    {"name": "clock-ahead", "mountPath": _AHEAD},
                ],
            }
        ],
        "volumes": [{"name": "clock", "configMap": {"name": "clock"}}, {"name": "clock-ahead", "emptyDir": {}}],
    }


def put_ahead(kubectl: Kubectl, namespace: str, pod: str, seconds: int) -> None:
    """Set a pod's clock forward by ``seconds`` from the correct time."""
    there = ("exec", pod, f"--namespace={namespace}", "--", "sh", "-c")
    # Rename the file, so that it is never read while it is incomplete.
    kubectl(*there, f"echo +{seconds} > {_AHEAD}/new && mv {_AHEAD}/new {_AHEAD}/seconds")

    def is_set() -> bool:
        ahead = float(kubectl(*there, "date +%s").stdout) - time.time()
        assert abs(ahead - seconds) < 5, f"the clock of {pod} is {ahead:.0f} s ahead"
        return True

    eventually(f"the clock of {pod} to be {seconds} s ahead", is_set)

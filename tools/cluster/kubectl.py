"""kubectl bound to the tests' cluster, and helpers to wait."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from tools.cluster.reader import Reader

T = TypeVar("T")

PATIENCE = 180.0
"""Seconds to wait for what a busy machine may delay; a deadline that a test is about is the test's own."""


class KubectlError(AssertionError):
    """A failed kubectl call, with its output."""


@dataclass(frozen=True)
class Kubectl:
    """Calls kubectl with its arguments; ``command`` has the flags that select the cluster.

    ``reader`` is for frequent reads.
    """

    command: tuple[str, ...]

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.json("config", "view", "--raw", "--minify", "--flatten"))

    def __call__(
        self, *args: str, input: str | None = None, check: bool = True, timeout: float = 2 * PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; raises :class:`KubectlError` with its standard error if it fails and ``check`` is set."""
        # In its own process group, so that an interrupt at the terminal reaches only us and does not cut a cleanup
        # short.
        done = subprocess.run(
            [*self.command, *args],
            input=input,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            process_group=0,
        )
        if check and done.returncode:
            raise KubectlError(
                f"kubectl {' '.join(args)} exited with status {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def json(self, *args: str) -> Any:
        """Return the parsed output of ``kubectl … -o json``."""
        return json.loads(self(*args, "--output=json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects, given as dictionaries."""
        self("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def rollout(self, namespace: str, *workloads: str, timeout: float = PATIENCE) -> None:
        """Wait until the workloads (``deployment/name``) are rolled out; raises with the logs of their pods."""
        for workload in workloads:
            here = f"--namespace={namespace}"
            done = self(
                "rollout", "status", workload, here, f"--timeout={timeout:g}s", check=False, timeout=timeout + 30
            )
            if done.returncode:
                pods = self("get", "pods", here, "--output=wide", check=False).stdout
                logs = self("logs", workload, here, "--tail=30", "--all-containers", check=False)
                raise KubectlError(f"{workload} was not rolled out:\n{done.stderr}{pods}{logs.stdout}{logs.stderr}")


def eventually(what: str, probe: Callable[[], T], timeout: float = PATIENCE, every: float = 0.25) -> T:
    """Call ``probe`` until it returns something true, and return that. Its assertions may fail until then."""
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            found = probe()
            if found:
                return found
            last = found
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}; last: {last}")
        time.sleep(every)


def columns(table: str) -> Sequence[str]:
    """Return the column names of a kubectl table."""
    return table.splitlines()[0].split()

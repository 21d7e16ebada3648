"""kubectl, bound to the one cluster of the tests, with the few waits that every test needs."""

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
    """A kubectl call that failed, with what it said."""


@dataclass(frozen=True)
class Kubectl:
    """Call it with kubectl's arguments; ``command`` holds the flags that name the cluster.

    ``reader`` is for what is asked for again and again.
    """

    command: tuple[str, ...]

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.json("config", "view", "--raw", "--minify", "--flatten"))

    def __call__(
        self, *args: str, input: str | None = None, check: bool = True, timeout: float = 2 * PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run it; raises :class:`KubectlError` with its standard error where ``check`` and it failed."""
        # In a process group of its own: an interrupt at the terminal is for us, and must not cut short a cleanup.
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
            raise KubectlError(f"kubectl {' '.join(args)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def json(self, *args: str) -> Any:
        """What ``kubectl … -o json`` prints."""
        return json.loads(self(*args, "--output=json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects, given as dictionaries."""
        self("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def rollout(self, namespace: str, *workloads: str, timeout: float = PATIENCE) -> None:
        """Wait until the workloads (``deployment/name``) are rolled out; else show what their pods say."""
        for workload in workloads:
            here = f"--namespace={namespace}"
            done = self(
                "rollout", "status", workload, here, f"--timeout={timeout:g}s", check=False, timeout=timeout + 30
            )
            if done.returncode:
                pods = self("get", "pods", here, "--output=wide", check=False).stdout
                logs = self("logs", workload, here, "--tail=30", "--all-containers", check=False)
                raise KubectlError(f"{workload} is not rolled out:\n{done.stderr}{pods}{logs.stdout}{logs.stderr}")


def eventually(what: str, probe: Callable[[], T], timeout: float = PATIENCE, every: float = 0.25) -> T:
    """Call ``probe`` until it returns something true, and return that; its assertions may fail until then."""
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
    """The names in the head of a table that kubectl printed."""
    return table.splitlines()[0].split()

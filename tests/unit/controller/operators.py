"""Runs an operator, in this process or as a pod would, and reads its state."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import kube_config
from prometheus_client import generate_latest

from backendpool.api.constants import KIND
from backendpool.controller import manager
from backendpool.controller.manager import Manager
from backendpool.controller.settings import OperatorSettings
from backendpool.k8s.client import Api
from backendpool.k8s.resources import Resource
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint_slice

SETTINGS = OperatorSettings("backendpool/operator:test", instance="operator-0")
NAME = "greetserver"


def put_slice(server: ApiServer, *addresses: str) -> None:
    """Store the EndpointSlice that Kubernetes would make for the pool's Service."""
    service_uid = server.objects["Service", "default", NAME]["metadata"]["uid"]
    server.put(endpoint_slice(*addresses, service_uid=service_uid))


def status(server: ApiServer, namespace: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = server.objects[KIND, namespace, NAME].get("status", {})
    return found


def listed(server: ApiServer) -> list[str]:
    return [endpoint["address"] for endpoint in status(server).get("endpoints", ())]


def applied(server: ApiServer, namespace: str = "default") -> bool:
    conditions = status(server, namespace).get("conditions", ())
    return any(c["type"] == "Reconciling" and c["reason"] == "Applied" for c in conditions)


def figures(operator: Manager) -> str:
    return generate_latest(operator.registry).decode()


def shown(operator: Manager, text: str) -> bool:
    return text in figures(operator)


def awaited(operator: Manager, text: str) -> bool:
    return text in (operator.readiness_error() or "")


def known(operator: Manager, kind: Resource) -> bool:
    return f"{kind.plural} (" not in (operator.readiness_error() or "")


@asynccontextmanager
async def operating(operator: Manager) -> AsyncIterator[None]:
    """Run the operator while the context lasts."""
    task = asyncio.create_task(operator.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


@asynccontextmanager
async def operated(api: Api, settings: OperatorSettings = SETTINGS) -> AsyncIterator[Manager]:
    """Yield a running operator without leader election."""
    operator = Manager(api, settings)
    async with operating(operator):
        yield operator


@asynccontextmanager
async def as_run(
    server: ApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[None]:
    """Run the operator as the command does, with other settings; stop it with the context."""
    async with server.serving(folder) as kubeconfig:
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        running = asyncio.create_task(manager.run(replace(SETTINGS, **{"metrics_port": 0, **settings})))
        try:
            yield
        finally:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(running, 60)


@asynccontextmanager
async def process(kubeconfig: Path, port: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the operator as a pod does."""
    env = os.environ | {"KUBECONFIG": str(kubeconfig), "LOOKASIDE_IMAGE": "x", "METRICS_PORT": str(port)}
    command = (sys.executable, "-c", "import sys; from backendpool.cli import main; sys.exit(main(['operator']))")
    started = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()

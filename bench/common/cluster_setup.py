"""Prepares the cluster for a benchmark: CRD, namespaces, and the deployed operator scaled to zero."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from tools.cluster import Cluster
from tools.cluster.deploy import OPERATOR_NAMESPACE, REPOSITORY, kubectl_of
from tools.cluster.kubectl import Kubectl

_OPERATOR = "deployment/backendpool-operator"
_CRD = "crd/grpcbackendpools.backendpool.io"
_GONE_SECONDS = 300


@asynccontextmanager
async def prepared(cluster: Cluster, namespaces: Collection[str]) -> AsyncIterator[None]:
    """Create the namespaces and scale the deployed operator, if any, to zero; restore both on exit."""
    kubectl = kubectl_of(cluster)
    replicas = await asyncio.to_thread(_deployed, kubectl)
    try:
        await _to_the_end(lambda: _prepare(kubectl, namespaces))
        yield
    finally:
        await _to_the_end(lambda: _restore(kubectl, namespaces, replicas))


async def _to_the_end(step: Callable[[], None]) -> None:
    """Run ``step`` to its end even if interrupted, so that nothing is left behind for the next run."""
    under_way = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        await asyncio.shield(under_way)
    except asyncio.CancelledError:
        await asyncio.wait([under_way])
        raise


def _deployed(kubectl: Kubectl) -> int:
    """Return the replicas of the deployed operator, 0 if there is none."""
    jsonpath = "--output=jsonpath={.spec.replicas}"
    found = kubectl("get", _OPERATOR, f"--namespace={OPERATOR_NAMESPACE}", "--ignore-not-found", jsonpath)
    return int(found.stdout or 0)


def _prepare(kubectl: Kubectl, namespaces: Collection[str]) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={REPOSITORY / 'crds'}")
    kubectl("wait", "--for=condition=Established", _CRD, "--timeout=180s")
    _scale(kubectl, 0)
    for name in namespaces:
        kubectl("create", "namespace", name)
        # What lookasides cost the operator is measured, and not what their pods cost the machine.
        kubectl("create", "quota", "no-pods", "--hard=pods=0", f"--namespace={name}")


def _restore(kubectl: Kubectl, namespaces: Collection[str], replicas: int) -> None:
    try:
        # Gone for good before the deployed operator is back: it would work on every pool of them once more.
        arguments = ("delete", "namespace", *namespaces, "--ignore-not-found", f"--timeout={_GONE_SECONDS}s")
        kubectl(*arguments, timeout=_GONE_SECONDS + 30)
    finally:
        _scale(kubectl, replicas)
        if replicas:
            kubectl.rollout(OPERATOR_NAMESPACE, _OPERATOR)


def _scale(kubectl: Kubectl, replicas: int) -> None:
    """Scale the deployed operator, if there is one."""
    here = f"--namespace={OPERATOR_NAMESPACE}"
    if not kubectl("get", _OPERATOR, here, "--ignore-not-found", "--output=name").stdout:
        return
    kubectl("scale", _OPERATOR, here, f"--replicas={replicas}")
    if not replicas:
        kubectl(
            "wait", "--for=delete", "pod", here, "--selector=app.kubernetes.io/component=operator", "--timeout=180s"
        )

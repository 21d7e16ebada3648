"""Brings the cluster up, finds it, and takes it down, whatever state it is in."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tools.cluster import (
    binaries,
    cache,
    cluster_record,
    dockerd,
    images,
    kind,
    lock,
    node_image,
    process,
    rootfs,
    user_cluster,
)
from tools.cluster import engine as engines
from tools.cluster.cluster import Cluster
from tools.cluster.cluster_record import ClusterRecord
from tools.cluster.console import Console, line
from tools.cluster.engine import Engine
from tools.cluster.errors import ClusterError
from tools.cluster.lock import Hold
from tools.cluster.settings import CLUSTER_NAME, Settings

_ANSWER_SECONDS = 30.0  # a busy machine's API server may take its time; a dead one does not come back
_READY_SECONDS = 120.0


@contextmanager
def using(
    settings: Settings, console: Console, purpose: str, *, with_images: bool, alone: bool = False
) -> Iterator[Cluster]:
    """Yield a healthy cluster, existing or new, which nobody changes or deletes during the block.

    With `with_images` it holds the project's images of the current sources; with `alone` nobody else uses it.
    """
    with lock.hold(settings.lock, purpose) as hold:
        cluster = _healthy(hold, settings, console)
        if with_images:
            images.deliver(cluster, hold, settings, console)
        if alone:
            hold.require_alone("use it alone")
        else:
            hold.share()
        yield cluster


def _healthy(hold: Hold, settings: Settings, console: Console) -> Cluster:
    if settings.context is not None:
        return user_cluster.up(settings.context, settings, console)
    if hold.alone:
        _clear_drafts(settings)
    engine = engines.require(settings, console)
    cluster = _found(engine, settings, console)
    if cluster is None:
        hold.require_alone("recreate the cluster")
        cluster = _made(engine, settings, console)
    return cluster


def _clear_drafts(settings: Settings) -> None:
    """Delete what interrupted runs left in the cache; nobody else is running."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    for path in cache.drafts(settings.cache):
        rootfs.clear(path)


def _found(engine: Engine, settings: Settings, console: Console) -> Cluster | None:
    """Return the existing cluster if it is healthy and matches this version of the repository."""
    made = ClusterRecord.read(settings)
    with console.step("cluster") as step:
        nodes = kind.nodes(engine)
        if not nodes:
            step.says("there is none yet")
            return None
        if made is None or made.fingerprint is None:
            step.says("an incomplete one is replaced")
            return None
        if made.fingerprint != _fingerprint(engine, settings):
            step.says("it has another version of the sources or another NODE_IMAGE, and is replaced")
            return None
        cluster = _cluster(made, nodes, engine, settings)
        problems = _settled_problems(cluster)
        if problems:
            step.says(f"it is unhealthy ({problems[0]}) and is replaced")
            return None
        step.says(f"{CLUSTER_NAME} is healthy: {len(nodes)} nodes")
        return cluster


def _settled_problems(cluster: Cluster) -> list[str]:
    """Return permanent problems of the cluster; waits a few seconds for transient ones."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while problems := cluster.problems():
        if time.monotonic() > deadline or not all(node.running for node in cluster.nodes):
            return problems
        time.sleep(1.0)
    return []


def _made(engine: Engine, settings: Settings, console: Console) -> Cluster:
    image = node_image.provide(engine, settings, console)
    own_kind = binaries.kind(settings, console)
    kubectl = binaries.kubectl(image, engine, settings, console)
    if kind.nodes(engine):
        with console.step("cleanup") as step:
            kind.delete(own_kind, engine, settings)
            step.says("deleted the old cluster")
    making = ClusterRecord(None, own_kind, kubectl, _network_is_ours(engine, settings))
    making.write(settings)
    log = process.new_log(settings.logs / "kind-create.log")
    with console.step("cluster", starts=f"creating {CLUSTER_NAME}, about a minute, log {log}") as step:
        try:
            kind.create(own_kind, image, engine, settings, log)
            cluster = _cluster(making, kind.nodes(engine), engine, settings)
            _wait_until_ready(cluster)
        except ClusterError as error:
            folder = settings.logs / "kind"
            kind.export_logs(own_kind, folder, engine)
            kind.delete(own_kind, engine, settings)
            _forget(making, engine, settings)
            error.hint = f"read the nodes' logs in {folder}; run this again to recreate the cluster"
            raise
        replace(making, fingerprint=_fingerprint(engine, settings)).write(settings)
        step.says(f"{CLUSTER_NAME} is up: {len(cluster.nodes)} nodes")
    return cluster


def _network_is_ours(engine: Engine, settings: Settings) -> bool:
    """Return whether kind's network exists only because of us and must be removed with the cluster."""
    earlier = ClusterRecord.read(settings)
    return not kind.has_network(engine) or (earlier is not None and earlier.made_network)


def _forget(made: ClusterRecord | None, engine: Engine, settings: Settings) -> None:
    """Remove what is left of a deleted cluster."""
    if engine.ours or (made is not None and made.made_network):
        kind.remove_network(engine)
    cluster_record.forget(settings)


def _wait_until_ready(cluster: Cluster) -> None:
    """Wait for all nodes and for the cluster's DNS, on which the first test depends."""
    limit = f"--timeout={_READY_SECONDS:g}s"
    cluster.ask("wait", "--for=condition=Ready", "nodes", "--all", limit, timeout=_READY_SECONDS + 10)
    rollout = ["rollout", "status", "deployment/coredns", "--namespace=kube-system"]
    cluster.ask(*rollout, limit, timeout=_READY_SECONDS + 10)


def _fingerprint(engine: Engine, settings: Settings) -> str:
    return kind.fingerprint(node_image.identity(settings), engine.ours)


def _cluster(made: ClusterRecord, nodes: tuple[kind.Node, ...], engine: Engine, settings: Settings) -> Cluster:
    return Cluster(CLUSTER_NAME, kind.CONTEXT, settings.kubeconfig, made.kubectl, nodes, made.kind, engine)


def down(settings: Settings, console: Console) -> None:
    """Delete our cluster, and stop the engine if we started it; the build cache remains."""
    with lock.hold(settings.lock, "cluster-down") as hold:
        hold.require_alone("delete the cluster")
        if settings.context is not None:
            user_cluster.forget(settings)
            console.say(f"{settings.context} is your own cluster: nothing to delete")
            return
        engine = engines.find(settings)
        if engine is not None:
            _delete(engine, settings, console)
        if engine is None or engine.ours:
            _end_engine(engine, settings, console)


def _delete(engine: Engine, settings: Settings, console: Console) -> None:
    with console.step("cluster") as step:
        if not kind.nodes(engine):
            step.says("there is none")
        else:
            kind.delete(binaries.kind(settings, console), engine, settings)
            step.says(f"{CLUSTER_NAME} is deleted")
        _forget(ClusterRecord.read(settings), engine, settings)


def _end_engine(engine: Engine | None, settings: Settings, console: Console) -> None:
    with console.step("engine") as step:
        others = engine.ask("ps", "--quiet").split() if engine is not None else []
        if others:
            step.says(f"still running, because it has {len(others)} of your containers")
            return
        dockerd.stop(settings)
        step.says("stopped" if engine is not None else "not running")


def status(settings: Settings, console: Console) -> bool:
    """Print the state of the cluster and how to access it; returns whether it is healthy."""
    cluster = find(settings, console)
    for node in cluster.nodes:
        console.say(line("node", f"{node.name}, {'running' if node.running else 'stopped'}"))
    problems = cluster.problems()
    console.say(line("health", "; ".join(problems) or "good"))
    console.say(line("kubectl", " ".join(cluster.kubectl_command)))
    return not problems


def find(settings: Settings, console: Console) -> Cluster:
    """Return the existing cluster, healthy or not; raises ClusterError if there is none."""
    if settings.context is not None:
        return user_cluster.up(settings.context, settings, console)
    engine, made = engines.find(settings), ClusterRecord.read(settings)
    nodes = kind.nodes(engine) if engine is not None else ()
    if engine is None or made is None or not nodes:
        raise ClusterError(f"there is no cluster {CLUSTER_NAME}", hint="start one: make cluster-up")
    return _cluster(made, nodes, engine, settings)

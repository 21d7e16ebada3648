"""The cluster brought up, asked for, and taken down: each in any state it may be found in."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cache, dockerd, kind, named, node_image, process, rootfs, tools
from . import engine as engines
from .cluster import Cluster
from .console import Console, line
from .engine import Engine
from .errors import ClusterError
from .lock import only_run
from .settings import CLUSTER_NAME, Settings

_ANSWER_SECONDS = 30.0  # a busy machine's API server may take its time; a dead one does not come back
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Record:
    """What `up` notes of the cluster that it made, for the runs after it."""

    fingerprint: str
    kind: str
    kubectl: str
    made_network: bool

    @staticmethod
    def file(settings: Settings) -> Path:
        """Where it stands; it is there only while a cluster was made to the end."""
        return settings.cache / "cluster.json"

    @classmethod
    def read(cls, settings: Settings) -> "Record | None":
        """The record of the last cluster that was made, or None."""
        try:
            return cls(**json.loads(cls.file(settings).read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError):
            return None

    def write(self, settings: Settings) -> None:
        """Note it, whole or not at all."""
        with cache.draft(self.file(settings)) as path:
            path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def up(settings: Settings, console: Console) -> Cluster:
    """A healthy cluster: the one that is there, or a new one."""
    if settings.context is not None:
        return named.up(settings.context, settings, console)
    with only_run(settings.lock, "up"):
        _clear_drafts(settings)
        engine = engines.require(settings, console)
        return _found(engine, settings, console) or _made(engine, settings, console)


def _clear_drafts(settings: Settings) -> None:
    """Remove what runs that were cut off left behind: nobody else is at work while we hold the lock."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    for path in cache.drafts(settings.cache):
        rootfs.clear(path)


def _found(engine: Engine, settings: Settings, console: Console) -> Cluster | None:
    """The cluster that is there, when it is healthy and what this version of the repository wants."""
    record = Record.read(settings)
    with console.step("cluster") as step:
        nodes = kind.nodes(engine)
        if not nodes:
            step.says("there is none yet")
            return None
        if record is None:
            step.says("one was left half made: it is replaced")
            return None
        if record.fingerprint != _fingerprint(engine, settings):
            step.says("it was made by another version of the repository, or another NODE_IMAGE: it is replaced")
            return None
        cluster = _cluster(record, nodes, engine, settings)
        problems = _settled_problems(cluster)
        if problems:
            step.says(f"it is dead ({problems[0]}): it is replaced")
            return None
        step.says(f"{CLUSTER_NAME} is healthy: {len(nodes)} nodes")
        return cluster


def _settled_problems(cluster: Cluster) -> list[str]:
    """What is wrong with the cluster for good; what passes within some seconds is waited for."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while problems := cluster.problems():
        if time.monotonic() > deadline or not all(node.running for node in cluster.nodes):
            return problems
        time.sleep(1.0)
    return []


def _made(engine: Engine, settings: Settings, console: Console) -> Cluster:
    image = node_image.provide(engine, settings, console)
    own_kind = tools.kind(settings, console)
    kubectl = tools.kubectl(image, engine, settings, console)
    if kind.nodes(engine):
        with console.step("cleanup") as step:
            kind.delete(own_kind, engine, settings)
            step.says("the old cluster is deleted")
    earlier = Record.read(settings)
    made_network = not kind.has_network(engine) or (earlier is not None and earlier.made_network)
    cache.remove(Record.file(settings))
    record = Record(_fingerprint(engine, settings), own_kind, kubectl, made_network)
    log = process.new_log(settings.logs / "kind-create.log")
    with console.step("cluster", starts=f"making {CLUSTER_NAME}, about a minute, log {log}") as step:
        try:
            kind.create(own_kind, image, engine, settings, log)
            cluster = _cluster(record, kind.nodes(engine), engine, settings)
            _wait_until_ready(cluster)
        except ClusterError as error:
            folder = settings.logs / "kind"
            kind.export_logs(own_kind, folder, engine)
            kind.delete(own_kind, engine, settings)
            error.hint = f"look at the nodes' logs in {folder}; run this again to make the cluster anew"
            raise
        record.write(settings)
        step.says(f"{CLUSTER_NAME} is up: {len(cluster.nodes)} nodes")
    return cluster


def _wait_until_ready(cluster: Cluster) -> None:
    """Wait for all nodes, and for the cluster's DNS: without it the first test would fail for no fault of its own."""
    limit = f"--timeout={_READY_SECONDS:g}s"
    cluster.ask("wait", "--for=condition=Ready", "nodes", "--all", limit, timeout=_READY_SECONDS + 10)
    rollout = ["rollout", "status", "deployment/coredns", "--namespace=kube-system"]
    cluster.ask(*rollout, limit, timeout=_READY_SECONDS + 10)


def _fingerprint(engine: Engine, settings: Settings) -> str:
    return kind.fingerprint(node_image.identity(settings), engine.ours)


def _cluster(record: Record, nodes: tuple[kind.Node, ...], engine: Engine, settings: Settings) -> Cluster:
    return Cluster(CLUSTER_NAME, kind.CONTEXT, settings.kubeconfig, record.kubectl, nodes, record.kind, engine)


def down(settings: Settings, console: Console) -> None:
    """Delete our cluster, and end the engine when we started it; what was built stays in the cache."""
    if settings.context is not None:
        named.forget(settings)
        console.say(f"{settings.context} is a cluster of yours: it is left as it is")
        return
    with only_run(settings.lock, "down"):
        engine = engines.find(settings)
        if engine is not None:
            _delete(engine, settings, console)
        if engine is None or engine.ours:
            _end_engine(engine, settings, console)


def _delete(engine: Engine, settings: Settings, console: Console) -> None:
    record = Record.read(settings)
    with console.step("cluster") as step:
        if not kind.nodes(engine):
            step.says("there is none")
        else:
            kind.delete(tools.kind(settings, console), engine, settings)
            step.says(f"{CLUSTER_NAME} is deleted")
        if engine.ours or (record is not None and record.made_network):
            kind.remove_network(engine)
        cache.remove(Record.file(settings))


def _end_engine(engine: Engine | None, settings: Settings, console: Console) -> None:
    with console.step("engine") as step:
        others = engine.ask("ps", "--quiet").split() if engine is not None else []
        if others:
            step.says(f"left running: {len(others)} containers of yours are in it")
            return
        dockerd.stop(settings)
        step.says("ended" if engine is not None else "none runs")


def status(settings: Settings, console: Console) -> bool:
    """Say how the cluster is and how to reach it; False when it is not healthy."""
    cluster = find(settings, console)
    for node in cluster.nodes:
        console.say(line("node", f"{node.name}, {'running' if node.running else 'stopped'}"))
    problems = cluster.problems()
    console.say(line("health", "; ".join(problems) or "good"))
    console.say(line("kubectl", " ".join(cluster.kubectl_command)))
    return not problems


def find(settings: Settings, console: Console) -> Cluster:
    """The cluster that is there, healthy or not; ClusterError when there is none."""
    if settings.context is not None:
        return named.up(settings.context, settings, console)
    engine, record = engines.find(settings), Record.read(settings)
    nodes = kind.nodes(engine) if engine is not None else ()
    if engine is None or record is None or not nodes:
        raise ClusterError(f"there is no cluster {CLUSTER_NAME}", hint="make one: python -m tests.e2e.cluster up")
    return _cluster(record, nodes, engine, settings)

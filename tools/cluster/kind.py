"""The kind cluster: configuration, creation, inspection and deletion."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import host, process, versions
from tools.cluster.engine import Engine
from tools.cluster.errors import ClusterError
from tools.cluster.settings import CLUSTER_NAME, Settings

NETWORK = "kind"
CONTEXT = f"kind-{CLUSTER_NAME}"
_OURS = f"label=io.x-k8s.kind.cluster={CLUSTER_NAME}"
_ROLE_LABEL = "io.x-k8s.kind.role"
_ZONES = ("a", "b")
# No pool of private addresses collides with these, and RFC 2544 keeps them out of the internet.
_OWN_SUBNETS = {"podSubnet": "198.18.0.0/17", "serviceSubnet": "198.19.0.0/20"}

AUDIT_LOG = "/var/log/kubernetes/audit.log"
_AUDIT_POLICY = "/etc/kubernetes/audit-policy.json"
_AUDIT_MOUNT = {"containerPath": _AUDIT_POLICY, "readOnly": True}
_WRITES_ONLY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
    ],
}
"""Who wrote what, of all service accounts: enough to tell whether there were ever two writers."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: a container of the engine with the same name."""

    name: str
    role: str
    running: bool

    @property
    def is_worker(self) -> bool:
        """Whether pods without special tolerations run here."""
        return self.role == "worker"


def configuration(own_subnets: bool, audit_policy: str) -> dict[str, Any]:
    """Return kind's configuration: one control plane node, and a worker per zone.

    `audit_policy` is the file on this host with the audit policy of the API server. `own_subnets` uses addresses of our
    own engine's range; on a user's engine, kind's defaults apply.
    """
    kubelet = {
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # many a CI machine still has it
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,  # needs a root file system whose device the kubelet can see
        # Programs are killed here on purpose, again and again: no test is about how long a kubelet waits then.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},  # the default since Kubernetes 1.35
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
    }
    control_plane = {
        "kind": "ClusterConfiguration",
        # A test cluster that loses its power is made anew; waiting for the disk at each write would only slow it.
        "etcd": {"local": {"extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}},
        "apiServer": _audited(),
    }
    workers = [{"role": "worker", "labels": {"topology.kubernetes.io/zone": zone}} for zone in _ZONES]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": CLUSTER_NAME,
        "networking": {
            "apiServerAddress": "127.0.0.1",
            # kind's default, said aloud: by nftables, kube-proxy 1.37 now and then fails to delete what it has added
            # (hairpin-connections), and refuses connections to Services meanwhile, for minutes.
            "kubeProxyMode": "iptables",
            **(_OWN_SUBNETS if own_subnets else {}),
        },
        "kubeadmConfigPatches": [json.dumps(kubelet), json.dumps(control_plane)],
        "nodes": [{"role": "control-plane", "extraMounts": [_AUDIT_MOUNT | {"hostPath": audit_policy}]}, *workers],
    }


def _audited() -> dict[str, Any]:
    """Return the API server part of a kubeadm configuration with an audit log of writes, for tests about writers."""
    arguments = {"audit-policy-file": _AUDIT_POLICY, "audit-log-path": AUDIT_LOG, "audit-log-maxsize": "50"}
    volumes = {"audit-policy": (_AUDIT_POLICY, "File"), "audit-log": (str(Path(AUDIT_LOG).parent), "DirectoryOrCreate")}
    return {
        "extraArgs": [{"name": name, "value": value} for name, value in arguments.items()],
        "extraVolumes": [
            {"name": name, "hostPath": path, "mountPath": path, "pathType": kind, "readOnly": kind == "File"}
            for name, (path, kind) in volumes.items()
        ],
    }


def create(kind: str, image: str, engine: Engine, settings: Settings, log: Path) -> None:
    """Create the cluster; on failure, keep its nodes for their logs."""
    file = settings.cache / "kind.json"
    policy = audit_policy(settings)
    policy.write_text(json.dumps(_WRITES_ONLY, indent=2), encoding="utf-8")
    file.write_text(json.dumps(configuration(engine.ours, str(policy)), indent=2), encoding="utf-8")
    target = ["--name", CLUSTER_NAME, "--kubeconfig", str(settings.kubeconfig)]
    made_of = ["--config", str(file), "--image", image]
    process.work(
        [kind, "create", "cluster", *target, *made_of, "--wait=180s", "--retain"],
        log=log,
        env=engine.env,
    )
    settings.kubeconfig.chmod(0o600)


def delete(kind: str, engine: Engine, settings: Settings) -> None:
    """Delete the cluster's containers, running or not, and its kubeconfig."""
    log = process.new_log(settings.logs / "kind-delete.log")
    command = [kind, "delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", str(settings.kubeconfig)]
    containers = engine.ask("ps", "--quiet", "--no-trunc", f"--filter={_OURS}").split()
    try:
        process.work(command, log=log, env=engine.env)
    except ClusterError:
        thawed = [host.thaw(container) for container in containers]
        if not any(thawed):
            raise
        process.work(command, log=log, env=engine.env)
    settings.kubeconfig.unlink(missing_ok=True)


def export_logs(kind: str, folder: Path, engine: Engine) -> None:
    """Write the logs of nodes and containers below `folder`, as far as available, even of stopped nodes."""
    folder.mkdir(parents=True, exist_ok=True)
    process.try_answer([kind, "export", "logs", str(folder), "--name", CLUSTER_NAME], env=engine.env, timeout=180)


def nodes(engine: Engine) -> tuple[Node, ...]:
    """Return the nodes, control plane first; empty if there is no cluster."""
    columns = f'{{{{.Names}}}}|{{{{.Label "{_ROLE_LABEL}"}}}}|{{{{.State}}}}'
    told = engine.ask("ps", "--all", f"--filter={_OURS}", f"--format={columns}")
    rows = (row.split("|") for row in told.splitlines())
    return tuple(sorted((Node(name, role, state == "running") for name, role, state in rows), key=_order))


def _order(node: Node) -> tuple[bool, str]:
    return (node.is_worker, node.name)


def has_network(engine: Engine) -> bool:
    """Return whether kind's network exists, which other kind clusters of the user share."""
    return engine.try_ask("network", "inspect", NETWORK) is not None


def remove_network(engine: Engine) -> None:
    """Remove kind's network unless a container uses it."""
    engine.try_ask("network", "rm", NETWORK)


def load(kind: str, images: list[str], workers: list[str], engine: Engine, log: Path) -> None:
    """Copy images of the engine to these nodes."""
    # kind unpacks an archive of all the images; a small /tmp may have no room for it.
    env = {**engine.env, "TMPDIR": os.environ.get("TMPDIR", "/var/tmp")}
    arguments = ["--name", CLUSTER_NAME, "--nodes", ",".join(workers)]
    process.work([kind, "load", "docker-image", *images, *arguments], log=log, env=env)


def audit_policy(settings: Settings) -> Path:
    """Return the path of the audit policy, which must exist as long as the cluster."""
    return settings.cache / "audit-policy.json"


def fingerprint(image_identity: str, own_subnets: bool) -> str:
    """Return a comparable description of the inputs of a cluster; a cluster with other inputs is replaced."""
    return json.dumps([versions.KIND_VERSION, image_identity, configuration(own_subnets, ""), _WRITES_ONLY])

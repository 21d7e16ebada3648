"""The cluster's configuration, and the state of its nodes."""

import json

from tools.cluster.cluster import unready
from tools.cluster.kind import configuration, fingerprint


def test_there_is_a_worker_in_each_of_two_zones() -> None:
    """There is one control plane node, and a worker in each of the zones a and b."""
    nodes = configuration(False, "/policy.json")["nodes"]
    assert [node["role"] for node in nodes] == ["control-plane", "worker", "worker"]
    zones = [node["labels"]["topology.kubernetes.io/zone"] for node in nodes if node["role"] == "worker"]
    assert zones == ["a", "b"]


def test_the_api_server_listens_to_this_machine_only() -> None:
    """The API server listens on loopback only."""
    assert configuration(True, "/policy.json")["networking"]["apiServerAddress"] == "127.0.0.1"


def test_addresses_are_chosen_on_our_own_engine_only() -> None:
    """On the user's engine, kind's default subnets apply."""
    assert configuration(True, "/policy.json")["networking"]["podSubnet"] == "198.18.0.0/17"
    assert "podSubnet" not in configuration(False, "/policy.json")["networking"]


def test_each_patch_names_what_it_patches() -> None:
    """Each patch is a document with a `kind`."""
    patches = [json.loads(patch) for patch in configuration(True, "/policy.json")["kubeadmConfigPatches"]]
    assert [patch["kind"] for patch in patches] == ["KubeletConfiguration", "ClusterConfiguration"]


def test_another_image_or_another_network_makes_another_cluster() -> None:
    """Another image or network changes the fingerprint."""
    prints = [fingerprint("a", True), fingerprint("b", True), fingerprint("a", False)]
    assert len(set(prints)) == 3
    assert fingerprint("a", True) == prints[0]


def test_a_node_that_is_not_ready_is_named() -> None:
    """Nodes that are not ready, unknown or without a report are named."""

    def node(name: str, **status: object) -> dict[str, object]:
        return {"metadata": {"name": name}, "status": status}

    told = {
        "items": [
            node("fine", conditions=[{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]),
            node("ill", conditions=[{"type": "Ready", "status": "False"}]),
            node("lost", conditions=[{"type": "Ready", "status": "Unknown"}]),
            node("new"),
        ]
    }
    assert unready(told) == ["node ill is not ready", "node lost is not ready", "node new is not ready"]


def test_api_server_notes_who_writes() -> None:
    """The audit policy is mounted at the path that the API server uses."""
    made = configuration(True, "/cache/policy.json")
    mount = made["nodes"][0]["extraMounts"][0]
    cluster = next(p for p in map(json.loads, made["kubeadmConfigPatches"]) if p["kind"] == "ClusterConfiguration")
    arguments = {item["name"]: item["value"] for item in cluster["apiServer"]["extraArgs"]}
    assert mount["hostPath"] == "/cache/policy.json"
    assert mount["containerPath"] == arguments["audit-policy-file"]

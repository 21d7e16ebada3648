"""docs/xds.md compared with the code."""

from __future__ import annotations

import json

import yaml

from backendpool.api.load_balancing import Policy
from backendpool.api.pool import Pool, lookaside_target
from backendpool.children.desired import children
from backendpool.children.xds_bootstrap import TLS_FOLDER, bootstrap
from backendpool.lookaside.cert_watcher import CERTIFICATE, CLIENTS_CA, KEY
from tests.docs.markdown import XDS, block, section, table
from tests.fakes.crd import crd_schema
from tests.fakes.objects import parsed_pool

HEAD = ("of the pool's spec", "C++, Python", "Go", "Java", "Node", "Envoy")


def test_pod_mounts_what_the_operator_lays_ready() -> None:
    """The example pod mounts a ConfigMap that is a child of the pool, and reads a file that it contains."""
    fragment = yaml.safe_load("spec:\n" + block(XDS.read_text().partition("\n## ")[0], "yaml"))["spec"]
    (variable,) = fragment["containers"][0]["env"]
    (mount,) = fragment["containers"][0]["volumeMounts"]
    made = {(child["kind"], child["metadata"]["name"]): child for child in children(parsed_pool(), "image")}
    data = made["ConfigMap", fragment["volumes"][0]["configMap"]["name"]]["data"]
    assert variable["value"].removeprefix(f"{mount['mountPath']}/") in data


def test_every_policy_has_its_row() -> None:
    """The table of client support has a row for each policy, and its other rows name fields of the spec."""
    rows = [row[HEAD[0]] for row in table(section(XDS, "What reaches which client"), *HEAD)]
    assert rows[: len(Policy)] == list(Policy)
    fields = crd_schema()["spec"]["properties"]
    for row in rows[len(Policy) :]:
        top, _, inner = row.partition(".")
        assert inner in fields[top]["properties"] if inner else top in fields


def test_bootstrap_by_a_variable_is_the_operators() -> None:
    """The example for zones equals the output of `backendpool bootstrap --zone`."""
    (_, variable) = yaml.safe_load("spec:\n" + block(section(XDS, "Zones"), "yaml"))["spec"]["env"]
    assert variable["name"] == "GRPC_XDS_BOOTSTRAP_CONFIG"
    assert json.loads(variable["value"].replace("$(ZONE)", "a")) == bootstrap(parsed_pool(), "a")


def test_certificate_is_for_the_lookasides_name() -> None:
    """The example certificate is for the host in the bootstrap, which clients verify."""
    certificate = yaml.safe_load(block(section(XDS, "TLS"), "yaml"))["spec"]
    one: Pool = parsed_pool()
    assert certificate["dnsNames"] == [lookaside_target(one).partition(":")[0]]
    text = section(XDS, "TLS")
    assert all(f"`{name}`" in text for name in (CERTIFICATE, KEY, CLIENTS_CA))
    assert f"`{TLS_FOLDER}/<pool>`" in text

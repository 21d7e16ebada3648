"""Commands and examples of the README and docs/operations.md, run on the cluster.

Most tests share one namespace with the pool stage of the example, in which the README's pool replaces that of the
stage.
"""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.docs.markdown import OPERATIONS, README, Command, block, commands, links, section, table
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, columns, eventually
from tools.demo import pools, stages, traffic

on_one_stage = pytest.mark.xdist_group("readme")

SERVER = "deployment/greetserver"
IMAGE = "registry.example.com/backendpool/operator:0.1.0"
INSTALL = section(README, "Install")
POOL = section(README, "A pool")


@pytest.fixture(scope="module")
def stage(kubectl_with_operator: Kubectl) -> Iterator[str]:
    """A namespace with greet servers, a gateway in pool mode, and the README's pool."""
    namespace = f"e2e-readme-{uuid4().hex[:6]}"
    folder = deploy.REPOSITORY / "manifests" / "greet" / "4-pool"
    manifests = deploy.manifests(kubectl_with_operator, folder).replace(deploy.STAGES["4-pool"], namespace)
    objects = [obj for obj in yaml.safe_load_all(manifests) if obj["kind"] not in ("GrpcBackendPool", "Ingress")]
    kubectl_with_operator("apply", "--server-side", "--filename=-", input=yaml.safe_dump_all(objects))
    kubectl_with_operator("apply", f"--namespace={namespace}", "--filename=-", input=block(POOL, "yaml"))
    kubectl_with_operator.rollout(namespace, SERVER, "deployment/greet-gateway")
    yield namespace
    kubectl_with_operator("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def namespace(kubectl_with_operator: Kubectl, stage: str) -> str:
    """The namespace of the stage, reset to three servers, all listed in the status."""
    pools.scale(kubectl_with_operator, stage, 3)
    pools.wait_ready(kubectl_with_operator, stage)
    pools.wait_for_count(kubectl_with_operator, stage, 3)
    return stage


def typed(kubectl: Kubectl, command: Command, namespace: str) -> str:
    """Run a documented command, in ``namespace`` unless it names another, and return its output."""
    words = shlex.split(command.line.replace(":default:", f":{namespace}:"))
    here = [] if any(word.startswith("--namespace=") for word in words) else [f"--namespace={namespace}"]
    return kubectl(*words[1:], *here).stdout


def of_kubectl(text: str) -> list[Command]:
    return [command for command in commands(text) if command.line.startswith("kubectl ")]


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """An editable copy of all files that `kubectl apply -k` reads."""
    for name in ("crds", "manifests"):
        shutil.copytree(deploy.REPOSITORY / name, tmp_path / name)
    return tmp_path / "manifests"


def images_of(objects: str) -> tuple[str, str]:
    """Return the image of the operator and the one that it sets in lookaside pods."""
    found = (obj for obj in yaml.safe_load_all(objects) if obj["kind"] == "Deployment")
    (container,) = next(found)["spec"]["template"]["spec"]["containers"]
    (lookaside,) = (entry["value"] for entry in container["env"] if entry["name"] == "LOOKASIDE_IMAGE")
    return container["image"], lookaside


def test_install_takes_the_image_that_is_named(kubectl_with_operator: Kubectl, manifests: Path) -> None:
    """With the README's `images`, the API server accepts all manifests; operator and lookaside run that image."""
    file = manifests.parent / links(INSTALL)[0]
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | yaml.safe_load(block(INSTALL, "yaml"))))
    apply = shlex.split(of_kubectl(INSTALL)[0].line.replace("manifests/", f"{manifests}/"))[1:]
    # Forced, since other field managers may own fields of the installed objects. It is a dry run.
    answer = kubectl_with_operator(*apply, "--dry-run=server", "--force-conflicts", "--output=yaml").stdout
    objects = yaml.safe_dump_all(yaml.safe_load(answer)["items"])
    assert images_of(objects) == (IMAGE, IMAGE)


def test_stage_takes_the_image_that_is_named(kubectl_with_operator: Kubectl, manifests: Path) -> None:
    """With the README's `images`, the server and the gateway of the example run that image."""
    stages = section(README, "The stages")
    (file,) = (manifests.parent / link for link in links(stages) if link.endswith("kustomization.yaml"))
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | yaml.safe_load(block(stages, "yaml"))))
    (apply,) = (command.line.split() for command in of_kubectl(stages))
    objects = yaml.safe_load_all(kubectl_with_operator("kustomize", str(manifests.parent / apply[-1])).stdout)
    pods = [obj["spec"]["template"]["spec"] for obj in objects if obj["kind"] == "Deployment"]
    assert [pod["containers"][0]["image"] for pod in pods] == ["registry.example.com/backendpool/greet:0.1.0"] * 2


def test_overlay_takes_the_image_that_is_named(kubectl_with_operator: Kubectl, manifests: Path) -> None:
    """With the overlay in docs/operations.md, operator and lookaside run the image that it names."""
    overlay = manifests.parent / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(block(section(OPERATIONS, "From an overlay of yours"), "yaml"))
    assert images_of(kubectl_with_operator("kustomize", str(overlay)).stdout) == (IMAGE, IMAGE)


def test_installed_operator_is_rolled_out(kubectl_with_operator: Kubectl) -> None:
    """The documented command that waits for the operator succeeds."""
    assert "successfully rolled out" in typed(kubectl_with_operator, of_kubectl(INSTALL)[1], "default")


@on_one_stage
def test_pool_is_shown_as_the_readme_shows_it(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """`kubectl wait` succeeds, and `kubectl get` prints the table in the README, except for the age."""
    wait, get = of_kubectl(POOL)
    typed(kubectl_with_operator, wait, namespace)
    answer = typed(kubectl_with_operator, get, namespace)
    assert columns(answer) == columns(get.answer)
    assert [line.split()[:-1] for line in answer.splitlines()[1:]] == [get.answer.splitlines()[1].split()[:-1]]


@on_one_stage
def test_python_example_greets_by_every_pod(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """In a pod with a reader's service account, the README's program calls all three backends."""
    program = block(section(README, "Use it"), "python").replace("/default/", f"/{namespace}/")
    name = f"client-{uuid4().hex[:6]}"
    kubectl_with_operator.apply(_client(kubectl_with_operator, namespace, name, program))

    def over() -> bool:
        return kubectl_with_operator.json("get", "pod", name, f"--namespace={namespace}")["status"]["phase"] in (
            "Succeeded",
            "Failed",
        )

    eventually("the end of the program", over)
    output = kubectl_with_operator("logs", name, f"--namespace={namespace}").stdout
    answered = Counter(re.findall(r"^Hello, Ada Lovelace from pod: name\((\S+)\)", output, re.MULTILINE))
    assert answered.total() == 6, output
    assert set(answered) == server_pods(kubectl_with_operator, namespace)


def _client(kubectl: Kubectl, namespace: str, name: str, program: str) -> dict[str, Any]:
    """Return a pod like that of the gateway, which runs ``program`` once."""
    gateway = kubectl.json("get", "deployment", "greet-gateway", f"--namespace={namespace}")
    spec: dict[str, Any] = gateway["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    kept = {key: container[key] for key in ("name", "image", "resources", "securityContext")}
    ran = kept | {"command": ["python", "-c", program]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**spec, "restartPolicy": "Never", "containers": [ran]},
    }


@on_one_stage
def test_commands_of_the_operations_guide_work(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """Each kubectl command succeeds in a namespace with the README's pool; test_uninstall.py runs those that delete."""
    for command in of_kubectl(OPERATIONS.read_text()):
        if not command.line.startswith(("kubectl apply", "kubectl delete")):
            typed(kubectl_with_operator, command, namespace)


@on_one_stage
def test_metrics_are_where_the_operations_guide_says(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """Each program serves metrics on the documented port, with only documented names and labels."""
    traffic.calls(kubectl_with_operator, namespace, 3)
    for program, place, selector, port in (
        ("Operator", deploy.OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator", 9090),
        ("Lookaside", namespace, pools.LOOKASIDES, 9090),
        ("Gateway", namespace, "run=greet-gateway", 9091),
    ):
        rows = table(section(OPERATIONS, program), "metric", "type", "labels", "meaning")
        known = {row["metric"]: set(re.findall(r"\w+", row["labels"])) for row in rows}
        shown = scraped(kubectl_with_operator, place, selector, port)
        assert shown, program
        for name, labels in shown.items():
            assert labels <= known[name], f"{program}: {name}"


def scraped(kubectl: Kubectl, namespace: str, selector: str, port: int) -> dict[str, set[str]]:
    """Scrape a pod through the API server, and return the labels of each of our metrics."""
    pods = kubectl.json("get", "pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
    name = next(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])
    text = kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics").stdout
    found: dict[str, set[str]] = {}
    for series, labels in re.findall(r"^((?:backendpool|greet)_\w+)(?:{(.*)})? ", text, re.MULTILINE):
        if not series.endswith("_created"):
            metric = re.sub(r"_(bucket|count|sum)$", "", series)
            found.setdefault(metric, set()).update(set(re.findall(r'(\w+)="', labels)) - {"le"})
    return found


@on_one_stage
def test_calls_under_way_finish_on_pods_that_go(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """When two of three pods are removed, all their calls in flight are answered; each call takes 2 s."""
    here = f"--namespace={namespace}"
    kubectl_with_operator("set", "env", SERVER, "GREET_DELAY_SECONDS=2", here)
    try:
        kubectl_with_operator.rollout(namespace, SERVER)
        pools.wait_for_count(kubectl_with_operator, namespace, 3)
        with traffic.load(kubectl_with_operator, namespace, rate=20, seconds=10) as load:
            time.sleep(4)
            pools.scale(kubectl_with_operator, namespace, 1)
            summary = load.summary()
    finally:
        kubectl_with_operator("set", "env", SERVER, "GREET_DELAY_SECONDS-", here)
    assert summary.failed == 0, summary.errors
    assert len(summary.pods) == 3, "the removed pods got no calls"
    assert summary.latency_ms["p50"] >= 2000


@pytest.mark.xdist_group("stages")
def test_stages_see_new_pods_as_the_table_says(kubectl_with_operator: Kubectl, cluster: Cluster) -> None:
    """In each stage, a new pod gets calls if the README's table says yes, and none if it says no."""
    head = ("stage", "`--mode`", "what happens", "sees new pods")
    rows = table(section(README, "The stages"), *head)
    with ThreadPoolExecutor() as several:
        seen = list(several.map(lambda name: sees_a_fourth_pod(kubectl_with_operator, cluster, name), deploy.STAGES))
    assert seen == [row["sees new pods"].startswith("yes") for row in rows]


def sees_a_fourth_pod(kubectl: Kubectl, cluster: Cluster, stage: str) -> bool:
    """Whether the gateway calls a pod that starts after the gateway's first calls."""
    namespace = stages.deploy_ready(cluster, stage)
    known = server_pods(kubectl, namespace)
    assert set(traffic.calls(kubectl, namespace, 100).pods) <= known
    with pools.scaled(kubectl, namespace, 4, back=3):
        if stage in stages.WITH_POOL:
            pools.wait_for_count(kubectl, namespace, 4)
        return not set(traffic.calls(kubectl, namespace, 100).pods) <= known


def servers(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    """Return the pods of the greet servers that do not terminate."""
    items = kubectl.json("get", "pods", f"--namespace={namespace}", "--selector=run=greetserver")["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def server_pods(kubectl: Kubectl, namespace: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in servers(kubectl, namespace)}

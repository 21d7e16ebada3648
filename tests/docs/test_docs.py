"""Statements of the documents that can be checked against the code without a cluster."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import yaml

from backendpool.api.spec import parse_spec
from greet.settings import Mode
from tests.docs.markdown import (
    ARCHITECTURE,
    CONTRIBUTING,
    OPERATIONS,
    README,
    REPOSITORY,
    anchors,
    block,
    commands,
    links,
    section,
    table,
)
from tests.fakes.objects import endpoint, reconciled_pool
from tests.unit.greet.servers import greet_servers
from tests.unit.k8s.scripted import ScriptedServer, page
from tools.cluster.deploy import STAGES

DOCUMENTS = [README, CONTRIBUTING, REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")]
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """The target of each link within the repository exists, and so does its heading."""
    for link in (link for link in links(document.read_text()) if "://" not in link):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    """Each `make` target that a document names exists and has a help text."""
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"(?:`|\$ )(?:\w+=\S+ )?make ([a-z0-9-]+)", document.read_text()):
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target


def test_selections_of_one_test_find_it() -> None:
    """The examples in CONTRIBUTING.md of how to run one test name existing tests."""
    examples = re.findall(r"T='(\S+) -k (\w+)'", CONTRIBUTING.read_text())
    assert len(examples) == 2
    for file, word in examples:
        assert re.search(rf"def test_\w*{word}", (REPOSITORY / file).read_text()), file


def test_python_version_is_the_least_that_works() -> None:
    """The README and pyproject.toml require the same version of Python."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (version,) = re.findall(r"Python (3\.\d+)", README.read_text())
    assert project["requires-python"] == f">={version}"


def test_every_package_is_in_the_table() -> None:
    """The table of packages names every package, and only existing ones."""
    cells = [row["package"] for row in table(ARCHITECTURE.read_text(), "package", "what is in it")]
    named = list(chain.from_iterable(re.findall(r"[\w./-]+", cell) for cell in cells))
    package = REPOSITORY / "operator" / "backendpool"
    found = {name: next((p for p in (package / name, REPOSITORY / name) if p.exists()), None) for name in named}
    assert None not in found.values(), found
    code = {path for path in package.iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert code <= set(found.values())


def test_stages_are_the_gateways_modes() -> None:
    """Each mode except watch has a stage, and the manifests of the stage set that mode."""
    modes = [mode for mode in Mode if mode is not Mode.WATCH]
    stages = table(section(README, "The stages"), "stage", "`--mode`", "what happens", "sees new pods")
    folders = [re.findall(r"\((manifests/greet/\S+)\)", row["stage"])[0] for row in stages]
    assert [row["`--mode`"] for row in stages] == modes
    assert [Path(folder).name for folder in folders] == list(STAGES)
    for folder, mode in zip(folders, modes, strict=True):
        gateway = yaml.safe_load((REPOSITORY / folder / "gateway.yaml").read_text())
        env = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "GATEWAY_MODE", "value": str(mode)} in env


@pytest.mark.parametrize(("heading", "folder"), [("Install", "operator"), ("The stages", "greet")])
def test_images_that_are_to_be_built_are_those_of_the_manifests(heading: str, folder: str) -> None:
    """The README builds an existing target of the Dockerfile, and the manifests run the tag that it pushes."""
    install = section(README, heading)
    build, push = (command.line.split() for command in commands(install)[:2])
    (target,), (tag,) = ([build[build.index(flag) + 1]] for flag in ("--target", "--tag"))
    (image,) = yaml.safe_load(block(install, "yaml"))["images"]
    assert f"AS {target}\n" in (REPOSITORY / "Dockerfile").read_text()
    assert push[-1] == tag == f"{image['newName']}:{image['newTag']}"
    kustomization = yaml.safe_load((REPOSITORY / "manifests" / folder / "base/kustomization.yaml").read_text())
    assert [image["name"]] == [known["name"] for known in kustomization["images"]]


def test_pool_has_ten_lines_and_reads_as_it_says() -> None:
    """The README's pool has at most ten lines, and its spec is valid."""
    text = block(section(README, "A pool"), "yaml")
    spec = parse_spec(yaml.safe_load(text)["spec"])
    assert len(text.splitlines()) <= 10
    assert (spec.selector, spec.port, spec.readers) == ({"run": "greetserver"}, 50051, ("greet-gateway",))


WITHOUT_OTHER_EXTRAS = """
import sys
sys.modules.update(dict.fromkeys(("kopf", "prometheus_client", "grpc_health", "grpc_reflection")))
"""


async def test_python_example_runs(tmp_path: Path) -> None:
    """The README's Python program calls each backend, with only the extras that the README installs."""
    # The first call waits until the Kubernetes client is imported, which is slow on a busy machine.
    program = WITHOUT_OTHER_EXTRAS + block(section(README, "Use it"), "python").replace("timeout=5", "timeout=100")
    server = ScriptedServer()
    async with greet_servers(*HOSTS) as port, server.serving():
        server.script(page(reconciled_pool(*(endpoint(host, port=port, pod_uid=host) for host in HOSTS)), version=41))
        env = {**os.environ, "KUBECONFIG": server.kubeconfig(tmp_path, {"token": "secret"})}
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(120):
                out, errors = await running.communicate()
        finally:
            if running.returncode is None:
                running.kill()
    greetings = Counter(re.findall(r"^Hello, Ada Lovelace from pod: name\((\S+)\)", out.decode(), re.MULTILINE))
    assert errors.decode() == ""
    assert greetings.keys() == set(HOSTS)
    assert greetings.total() == 6


def test_commands_are_of_programs_that_the_reader_has() -> None:
    """Console blocks contain only kubectl, docker and make, which other tests run or check."""
    typed = [command.line for document in (README, OPERATIONS) for command in commands(document.read_text())]
    assert {line.split()[0] for line in typed} == {"kubectl", "docker", "make"}

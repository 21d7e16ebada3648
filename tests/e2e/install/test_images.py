"""Builds of the project's images with both of Docker's builders."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tools.cluster import Cluster, images, settings
from tools.cluster.console import Console


@pytest.mark.long
@pytest.mark.parametrize("builder", ["BuildKit", "classic"])
def test_each_builder_makes_the_images(cluster: Cluster, tmp_path: Path, builder: str) -> None:
    """Each builder makes working images, without this host's configuration of package indexes."""
    if cluster.engine is None:
        pytest.skip("needs a kind cluster: builds images")
    if builder == "BuildKit" and not cluster.engine.buildkit:
        pytest.skip("needs BuildKit, which this Docker lacks")
    engine, console = replace(cluster.engine, buildkit=builder == "BuildKit"), Console()
    with console.step("images") as step:
        recipe = images.recipe(engine, settings.from_environment(os.environ, Path.home()), console, step)
    for target, program in (("operator", "backendpool"), ("greet", "python -m greet")):
        name = f"backendpool/{target}:{builder.lower()}"
        images.make(target, name, recipe, engine, tmp_path / "log")
        run = ("run", "--rm", "--entrypoint=sh", name, "-c")
        assert engine.ask(*run, f"{program} --help").startswith("usage: ")
        assert engine.ask(*run, "ls /etc").splitlines().count("pip.conf") == 0

"""A host with fake programs (`fake_program`), whose state tests can set and whose calls they can read."""

import json
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tools.cluster.console import Console
from tools.cluster.settings import Settings, from_environment

_SOURCE = Path(__file__).with_name("fake_program.py")
_CLEAN: dict[str, Any] = {
    "engine": True,  # whether a Docker engine answers
    "images": [],
    "loaded": [],  # onto nodes: a node and an image with its label, each
    "nodes": {},  # state of each node by its name
    "networks": [],
    "registry": "answers",  # or "stalls", or the reason of its refusal
    "creation": "works",  # of a cluster; or "fails", or "killed": with it the run that does it
    "ready": True,  # what a cluster's API server says of its nodes
    "dockerd_hangs": False,
    "package_starts_engine": False,
    "calls": [],
}


@dataclass(frozen=True, slots=True)
class Host:
    """The state of the host, and the output of our run on it."""

    folder: Path
    settings: Settings
    console: Console

    @classmethod
    def made(cls, folder: Path) -> "Host":
        """Create a clean host below `folder`, with an engine, kind and kubectl."""
        (folder / "bin").mkdir()
        (folder / "host.json").write_text(json.dumps(_CLEAN))
        program = folder / "fake_program.py"
        program.write_text(f"#!{sys.executable} -IS\n{_SOURCE.read_text()}")
        program.chmod(0o755)
        chosen = from_environment({"XDG_CACHE_HOME": str(folder / "cache")}, folder)
        host = cls(folder, chosen, Console(StringIO()))
        host.add("docker", "kind", "kubectl")
        return host

    @property
    def state(self) -> dict[str, Any]:
        """The state that the programs share."""
        known: dict[str, Any] = json.loads((self.folder / "host.json").read_text())
        return known

    def change(self, **facts: Any) -> None:
        """Change the state of the host."""
        (self.folder / "host.json").write_text(json.dumps(self.state | facts))

    def add(self, *programs: str) -> None:
        """Install programs."""
        for name in programs:
            (self.folder / "bin" / name).symlink_to(self.folder / "fake_program.py")

    def remove(self, program: str) -> None:
        """Remove a program."""
        (self.folder / "bin" / program).unlink()

    def calls(self, command: str) -> list[str]:
        """Return the calls of a program that begin with these words."""
        return [call for call in self.state["calls"] if call.startswith(command)]

    @property
    def said(self) -> str:
        """Return the terminal output."""
        stream = self.console.stream
        assert isinstance(stream, StringIO)
        return stream.getvalue()

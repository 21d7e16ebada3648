"""A fake host for the tests of the cluster tooling."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.cluster.fake_host import Host
from tools.cluster import dockerd, firewall, host, runc_wrapper


@pytest.fixture
def fake_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A clean host with an engine, kind and kubectl; real programs are not found, and the real host is not changed."""
    made = Host.made(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("FAKE_HOST", str(tmp_path / "host.json"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(firewall, "_FORWARD_SWITCH", tmp_path / "ip_forward")
    (tmp_path / "ip_forward").write_text("0")
    monkeypatch.setattr(host, "mounts", list)
    monkeypatch.setattr(runc_wrapper, "missing_here", frozenset)
    yield made
    dockerd.stop(made.settings)

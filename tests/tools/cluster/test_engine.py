"""Finding or starting a Docker engine."""

import os
import sys
from pathlib import Path

import pytest

from tests.tools.cluster.fake_host import Host
from tools.cluster import dockerd, engine, lifecycle
from tools.cluster.errors import ClusterError


@pytest.fixture
def bare(fake_host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """Debian without systemd, as root, without an engine; apt-get can install one."""
    if sys.platform != "linux":
        pytest.skip("an engine of our own is for Linux only")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine, "_SYSTEMD", tmp_path / "no-systemd")
    fake_host.change(engine=False)
    fake_host.add("apt-get", "modprobe", "ip")
    return fake_host


@pytest.fixture
def systemd(bare: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """The same with systemd, so that the package starts its engine."""
    monkeypatch.setattr(engine, "_SYSTEMD", tmp_path)
    bare.change(package_starts_engine=True)
    return bare


def required(host: Host) -> engine.Engine:
    return engine.require(host.settings, host.console)


def test_the_engine_that_answers_is_used(fake_host: Host) -> None:
    """A running engine is used, and stays when the cluster is deleted."""
    assert not required(fake_host).ours
    lifecycle.down(fake_host.settings, fake_host.console)
    assert fake_host.state["engine"]


def test_an_engine_is_installed_and_started_on_a_bare_host(bare: Host) -> None:
    """On a bare host an engine is installed and started; it outlives the run and is stopped with the cluster."""
    assert required(bare).ours
    assert bare.calls("apt-get install")
    assert dockerd.running(bare.settings)
    assert required(bare).ours
    assert len(bare.calls("dockerd")) == 1
    lifecycle.down(bare.settings, bare.console)
    assert dockerd.running(bare.settings) is None


def test_an_engine_that_its_package_starts_is_used(systemd: Host) -> None:
    """An engine that its package starts is used, and no second one is started."""
    assert not required(systemd).ours
    assert systemd.calls("dockerd") == []


def test_what_systemd_is_to_start_is_not_started_beside_it(systemd: Host) -> None:
    """If systemd should start an installed engine but did not, the user is told how to."""
    systemd.change(package_starts_engine=False)
    with pytest.raises(ClusterError) as silent:
        required(systemd)
    assert "systemctl start docker" in silent.value.hint
    assert systemd.calls("dockerd") == []


def test_an_engine_that_does_not_come_up_is_ended(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not start is stopped and its changes undone; the error shows its log."""
    monkeypatch.setattr(dockerd, "_START_SECONDS", 1.0)
    bare.change(dockerd_hangs=True)
    with pytest.raises(ClusterError) as failed:
        required(bare)
    assert failed.value.log == dockerd.log(bare.settings)
    assert len(bare.calls("dockerd")) == 1
    assert dockerd.running(bare.settings) is None
    assert bare.calls("ip link delete docker0")


def test_only_root_installs_an_engine(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users are told what to install."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError) as refused:
        required(bare)
    assert "https://docs.docker.com/engine/install" in refused.value.hint
    assert bare.calls("apt-get") == []


def test_elsewhere_than_on_debian_it_is_said_what_to_install(bare: Host) -> None:
    """Without apt-get, the user is told what to install."""
    bare.remove("apt-get")
    with pytest.raises(ClusterError) as refused:
        required(bare)
    assert "https://docs.docker.com/engine/install" in refused.value.hint


def test_an_engine_that_the_user_names_is_the_users_to_start(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """With DOCKER_HOST, only that engine is used, and never started."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example.com:2376")
    with pytest.raises(ClusterError, match=r"tcp://engine\.example\.com:2376"):
        required(bare)
    assert bare.calls("apt-get") == []

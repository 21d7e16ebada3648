"""The command line: flags, settings and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backendpool import __version__
from backendpool.children.xds_bootstrap import bootstrap
from backendpool.cli import main
from backendpool.controller import manager
from backendpool.controller.settings import OperatorSettings
from backendpool.errors import Unreachable
from backendpool.lookaside import server
from backendpool.lookaside.settings import LookasideSettings
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import parsed_pool, pool


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore signal handlers, and remove settings from the environment."""
    for variable in ("LOOKASIDE_IMAGE", "WATCH_NAMESPACES", "METRICS_PORT", "LOG_LEVEL", "LOG_FORMAT", "POOL_NAME"):
        monkeypatch.delenv(variable, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Started:
    """Replaces the operator."""

    def __init__(self) -> None:
        self.settings: list[OperatorSettings] = []
        self.failure: Exception | None = None

    async def run(self, settings: OperatorSettings) -> None:
        self.settings.append(settings)
        if self.failure:
            raise self.failure


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started()
    monkeypatch.setattr(manager, "run", started.run)
    return started


def test_flags_override_the_environment(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag overrides its variable, even with an empty value."""
    monkeypatch.setenv("LOOKASIDE_IMAGE", "of-the-environment")
    monkeypatch.setenv("WATCH_NAMESPACES", "shop")
    monkeypatch.setenv("METRICS_PORT", "1")
    assert main(["operator", "--metrics-port", "0", "--namespaces", ""]) == 0
    (settings,) = started.settings
    assert (settings.lookaside_image, settings.namespaces, settings.metrics_port) == ("of-the-environment", (), 0)


def test_lookaside_is_started_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookaside command passes its settings on."""
    seen: list[LookasideSettings] = []

    async def serve(settings: LookasideSettings) -> None:
        seen.append(settings)

    monkeypatch.setattr(server, "serve", serve)
    assert main(["lookaside", "--pool", "greetserver", "--namespace", "shop", "--port", "1"]) == 0
    assert seen == [LookasideSettings("greetserver", "shop", port=1)]


async def test_bootstrap_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed bootstrap equals the one in the ConfigMap, plus the zone."""
    server = ApiServer()
    server.put(pool())
    async with server.serving(tmp_path) as kubeconfig:
        env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        command = [str(Path(sys.executable).with_name("backendpool")), "bootstrap", "greetserver", "--zone", "a"]
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
    assert json.loads(printed) == bootstrap(parsed_pool(), "a")


def test_wrong_target_exits_2_with_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid target exits with 2 and says what to write."""
    assert main(["endpoints", "greetserver"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("backendpool endpoints: invalid target 'greetserver': expected pool:///namespace/name")


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (None, "expected one with ca.crt and, for mutual TLS, tls.crt and tls.key"),
        (["tls.crt"], "expected both or neither"),
    ],
)
def test_unusable_tls_folder_exits_2(
    files: list[str] | None, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid TLS folder exits with 2 and says what is missing."""
    folder = tmp_path / "tls"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("")
    assert main(["endpoints", "lookaside://localhost/ns/who", "--tls-folder", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(advice)


def test_unusable_settings_exit_2_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid settings exit with 2 and one line, without a traceback."""
    assert main(["operator"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("backendpool operator: LOOKASIDE_IMAGE is not set: expected the image")


@pytest.mark.usefixtures("started")
def test_unusable_log_settings_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid log settings exit with 2 before anything starts."""
    assert main(["operator", "--lookaside-image", "x", "--log-level", "loud"]) == 2
    assert "invalid LOG_LEVEL 'loud'" in capsys.readouterr().err


@pytest.mark.usefixtures("started")
def test_empty_log_settings_are_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty log settings mean the defaults."""
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("LOG_FORMAT", "")
    assert main(["operator", "--lookaside-image", "x"]) == 0


def test_failure_exits_1_with_one_line(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    """An expected failure exits with 1 and one line."""
    started.failure = Unreachable("connection refused")
    assert main(["operator", "--lookaside-image", "x"]) == 1
    assert capsys.readouterr().err == "backendpool operator: connection refused\n"


def test_bug_is_not_hidden(started: Started) -> None:
    """An unexpected error ends Python with a traceback and code 1."""
    started.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["operator", "--lookaside-image", "x"])


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_start_exits_0(number: signal.Signals) -> None:
    """A signal during the start exits with 0 at once, even as the first process of a container."""
    main(["operator", "--lookaside-image", "x"])
    with pytest.raises(SystemExit) as leaving:
        signal.raise_signal(number)
    assert leaving.value.code == 0


def test_missing_extra_is_named() -> None:
    """Without its extra, the operator exits with 2 and says what to install."""
    program = "import sys; sys.modules['aiohttp'] = None; from backendpool.cli import main; exit(main(['operator']))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    line = "backendpool operator: aiohttp is not installed: pip install 'backendpool[operator]'\n"
    assert (ended.stderr, ended.returncode) == (line, 2)


@pytest.mark.parametrize(("command", "flag"), [([], "operator"), (["operator"], "WATCH_NAMESPACES")])
def test_help_names_commands_flags_and_variables(
    command: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """--help lists all commands, flags and variables."""
    with pytest.raises(SystemExit) as leaving:
        main([*command, "--help"])
    assert leaving.value.code == 0
    assert flag in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["conduct"], ["operator", "--loud"], ["operator", "--metrics-port"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage exits with 2 and prints the usage."""
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "usage: backendpool" in capsys.readouterr().err


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the installed version."""
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"backendpool {__version__}\n"

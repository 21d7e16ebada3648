"""The command line: what it understands, and how it ends."""

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
from tests.fakes.pools import document, pool


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The signals' handlers as they were, and no setting from the environment."""
    for variable in ("LOOKASIDE_IMAGE", "WATCH_NAMESPACES", "METRICS_PORT", "LOG_LEVEL", "LOG_FORMAT", "POOL_NAME"):
        monkeypatch.delenv(variable, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Started:
    """Takes the place of the operator, and does what a test wants instead."""

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
    """What the environment says counts where no flag says otherwise, be it by an empty value."""
    monkeypatch.setenv("LOOKASIDE_IMAGE", "of-the-environment")
    monkeypatch.setenv("WATCH_NAMESPACES", "shop")
    monkeypatch.setenv("METRICS_PORT", "1")
    assert main(["operator", "--metrics-port", "0", "--namespaces", ""]) == 0
    (settings,) = started.settings
    assert (settings.lookaside_image, settings.namespaces, settings.metrics_port) == ("of-the-environment", (), 0)


def test_lookaside_is_started_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same image runs both parts, each with settings of its own."""
    seen: list[LookasideSettings] = []

    async def serve(settings: LookasideSettings) -> None:
        seen.append(settings)

    monkeypatch.setattr(server, "serve", serve)
    assert main(["lookaside", "--pool", "greetserver", "--namespace", "shop", "--port", "1"]) == 0
    assert seen == [LookasideSettings("greetserver", "shop", port=1)]


async def test_bootstrap_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that the operator lays ready, and for clients in a zone."""
    server = ApiServer()
    server.put({**document(), "kind": "GrpcBackendPool"})
    async with server.serving(tmp_path) as kubeconfig:
        env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        command = [str(Path(sys.executable).with_name("backendpool")), "bootstrap", "greetserver", "--zone", "a"]
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
    assert json.loads(printed) == bootstrap(pool(), "a")


def test_wrong_target_exits_2_with_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    """A target is no setting, and as wrong a usage."""
    assert main(["endpoints", "greetserver"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("backendpool endpoints: invalid target 'greetserver': expected pool:///namespace/name")


@pytest.mark.parametrize(
    ("files", "advice"),
    [(None, "give one with ca.crt and, for mutual TLS, tls.crt and tls.key"), (["tls.crt"], "give both, or neither")],
)
def test_unusable_tls_folder_exits_2(
    files: list[str] | None, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is missing."""
    folder = tmp_path / "tls"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("")
    assert main(["endpoints", "lookaside://localhost/ns/who", "--tls-folder", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(advice)


def test_unusable_settings_exit_2_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Who starts it wrongly reads what to change, and no traceback."""
    assert main(["operator"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("backendpool operator: LOOKASIDE_IMAGE is not set: expected the image")


@pytest.mark.usefixtures("started")
def test_unusable_log_settings_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The log is set up before anything starts."""
    assert main(["operator", "--lookaside-image", "x", "--log-level", "loud"]) == 2
    assert "invalid LOG_LEVEL 'loud'" in capsys.readouterr().err


@pytest.mark.usefixtures("started")
def test_empty_log_settings_are_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that a manifest leaves empty means its default."""
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("LOG_FORMAT", "")
    assert main(["operator", "--lookaside-image", "x"]) == 0


def test_failure_exits_1_with_one_line(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not a bug needs no traceback."""
    started.failure = Unreachable("connection refused")
    assert main(["operator", "--lookaside-image", "x"]) == 1
    assert capsys.readouterr().err == "backendpool operator: connection refused\n"


def test_bug_is_not_hidden(started: Started) -> None:
    """Any other error goes up, so that Python ends with a traceback and exit code 1."""
    started.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["operator", "--lookaside-image", "x"])


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_start_exits_0(number: signal.Signals) -> None:
    """A pod that is deleted while it starts is gone at once, though it is its container's first process."""
    main(["operator", "--lookaside-image", "x"])
    with pytest.raises(SystemExit) as leaving:
        signal.raise_signal(number)
    assert leaving.value.code == 0


def test_missing_extra_is_named() -> None:
    """Without its extra, the operator exits with 2 and says what to install: the base install is the light client."""
    program = "import sys; sys.modules['aiohttp'] = None; from backendpool.cli import main; exit(main(['operator']))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    line = "backendpool operator: aiohttp is not installed: pip install 'backendpool[operator]'\n"
    assert (ended.stderr, ended.returncode) == (line, 2)


@pytest.mark.parametrize(("command", "flag"), [([], "operator"), (["operator"], "WATCH_NAMESPACES")])
def test_help_names_commands_flags_and_variables(
    command: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """--help is all that is needed to find the rest."""
    with pytest.raises(SystemExit) as leaving:
        main([*command, "--help"])
    assert leaving.value.code == 0
    assert flag in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["conduct"], ["operator", "--loud"], ["operator", "--metrics-port"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A missing or unknown command, an unknown flag, and a flag without its value are refused with the usage."""
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "usage: backendpool" in capsys.readouterr().err


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says which one is installed."""
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"backendpool {__version__}\n"

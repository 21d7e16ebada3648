"""The command ``python -m greet``: its flags, errors and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from greet.cli import main


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore the signal handlers after each test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("command", ["", "server", "gateway", "load"])
def test_help_ends_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help explains each command, and exits with 0."""
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "usage: greet" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["fly"], ["server", "--fast"], []])
def test_wrong_usage_exits_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command or flag, or no command, prints the usage."""
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    assert "usage: greet" in capsys.readouterr().err


def test_flag_overrides_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A flag overrides the variable; an invalid value names the variable and exits with code 2."""
    monkeypatch.setenv("GATEWAY_MODE", "sticky")
    assert main(["gateway", "--mode", "magic"]) == 2
    assert capsys.readouterr().err.startswith("greet gateway: invalid GATEWAY_MODE 'magic'")


@pytest.mark.parametrize("args", [["server"], ["gateway", "--mode", "sticky"]])
def test_program_ends_well_when_asked_to(args: list[str]) -> None:
    """On SIGTERM, each program logs that it drains, and exits with 0."""
    command = [sys.executable, "-m", "greet", *args, "--port", "0", "--drain", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stderr is not None
        assert "Serving greetings over" in program.stderr.readline()
        program.send_signal(signal.SIGTERM)
        assert "Draining before shutdown drain_seconds=0" in program.stderr.read()
        assert program.wait(10) == 0


@pytest.mark.parametrize(
    ("part", "missing"), [("server", "grpc_health.v1"), ("gateway", "aiohttp"), ("load", "aiohttp")]
)
def test_missing_extra_is_named(part: str, missing: str) -> None:
    """If a package is missing, each program exits with 2 and says how to install it."""
    program = f"import sys; sys.modules['{missing}'] = None; from greet.cli import main; sys.exit(main(['{part}']))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    line = f"greet {part}: {missing} is not installed: run make venv in a clone of the repository\n"
    assert (ended.stderr, ended.returncode) == (line, 2)

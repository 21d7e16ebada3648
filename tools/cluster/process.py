"""Runs other programs: short ones for their output, and long ones with a log file."""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from tools.cluster.errors import ClusterError

_TAIL = 2000  # characters of a failed command's output that belong in the message


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return this process's environment with `extra` on top."""
    return {**os.environ, **(extra or {})}


def answer(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 60.0,
    hint: str = "",
) -> str:
    """Return the standard output of a command; raises ClusterError if it fails or exceeds `timeout` seconds."""
    try:
        done = subprocess.run(
            argv,
            env=environment(env),
            cwd=cwd,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as missing:
        raise ClusterError(f"{argv[0]} is not installed", hint=hint) from missing
    except subprocess.TimeoutExpired as late:
        raise ClusterError(f"`{shlex.join(argv)}` did not finish within {timeout:g} s", hint=hint) from late
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-_TAIL:]
        raise ClusterError(f"`{shlex.join(argv)}` failed: {said}", hint=hint)
    return done.stdout


def try_answer(argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 60.0) -> str | None:
    """Return the standard output of a command, or None if it fails or exceeds `timeout` seconds."""
    try:
        return answer(argv, env=env, timeout=timeout)
    except ClusterError:
        return None


def new_log(path: Path) -> Path:
    """Create an empty log at `path`, so that its end belongs to this attempt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="utf-8")
    return path


def work(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    hint: str = "",
) -> None:
    """Run a long command with its output appended to `log`; `on_line` gets each line.

    Interrupting the wait ends the command too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as out:
        out.write(f"$ {shlex.join(argv)}\n")
        out.flush()
        try:
            process = subprocess.Popen(
                argv,
                env=environment(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                process_group=0,  # so that it can be ended together with all that it starts
            )
        except FileNotFoundError as missing:
            raise ClusterError(f"{argv[0]} is not installed", hint=hint) from missing
        with process:
            try:
                assert process.stdout is not None
                for text in process.stdout:
                    out.write(text)
                    out.flush()
                    if on_line is not None:
                        on_line(text.rstrip("\n"))
                status = process.wait()
            except BaseException:
                _end(process.pid)
                raise
    if status != 0:
        raise ClusterError(f"`{shlex.join(argv[:3])} ...` exited with status {status}", log=log, hint=hint)


def beside(*jobs: Callable[[], None]) -> None:
    """Run jobs concurrently; if one fails, or on an interrupt, all their programs are ended."""
    with ThreadPoolExecutor() as pool:
        waits = [pool.submit(job) for job in jobs]
        try:
            for wait in as_completed(waits):
                wait.result()
        except BaseException:
            _end_children()
            raise


def _end_children() -> None:
    """End the programs that we wait for; daemons have their own session and stay."""
    told = try_answer(["ps", "-o", "pid=,sess=", "--ppid", str(os.getpid())]) or ""
    for pid, session in (map(int, row.split()) for row in told.splitlines()):
        if session == os.getsid(0):
            _end(pid)


def _end(group: int) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself, or leads no group
        os.killpg(group, signal.SIGTERM)

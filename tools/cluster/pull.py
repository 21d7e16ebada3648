"""Pulls an image, and fails within seconds if it is not available."""

import subprocess
import threading

from tools.cluster import process
from tools.cluster.console import Step
from tools.cluster.engine import Engine
from tools.cluster.settings import Settings

_PATIENCE = 15.0  # seconds for the registry to answer; then it counts as out of reach
_ENGINE = "Error response from daemon: "


def failure(reference: str, engine: Engine, settings: Settings, step: Step) -> str | None:
    """Pull `reference`; return None on success, else the reason.

    The engine prints "Pulling from ..." once the registry has answered with the manifest. Until then, a stalled pull is
    given up after a few seconds; afterwards it may take as long as it needs.
    """
    pull = subprocess.Popen(
        [engine.docker, "pull", reference],
        env=process.environment(engine.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process.new_log(settings.logs / "pull.log").open("a", encoding="utf-8") as out, pull:
        giving_up = threading.Timer(_PATIENCE, pull.terminate)
        giving_up.start()
        said, answered = "", False
        try:
            assert pull.stdout is not None
            for text in pull.stdout:
                out.write(text)
                said = text.strip() or said
                answered = answered or "Pulling from" in text
                if answered:
                    giving_up.cancel()
                    step.progress(f"pulling {reference}: {said}")
            if pull.wait() == 0:
                return None
            return said.removeprefix(_ENGINE) or f"no registry answered within {_PATIENCE:g} s"
        finally:
            giving_up.cancel()
            pull.terminate()

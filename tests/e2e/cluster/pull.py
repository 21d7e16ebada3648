"""Pulling an image, with an answer within seconds where it cannot be had."""

import subprocess
import threading

from . import process
from .console import Step
from .engine import Engine
from .settings import Settings

_PATIENCE = 15.0  # seconds for the registry to answer; then it counts as out of reach


def pulled(reference: str, engine: Engine, settings: Settings, step: Step) -> bool:
    """Pull `reference`; False when no registry gives it.

    The engine says "Pulling from ..." once the registry has answered with the image's manifest. Until then a pull that
    stalls is given up after some seconds; from then on it may take its time.
    """
    log = settings.logs / "pull.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    pull = subprocess.Popen(
        [engine.docker, "pull", reference],
        env=process.environment(engine.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with log.open("a", encoding="utf-8") as out, pull:
        giving_up = threading.Timer(_PATIENCE, pull.terminate)
        giving_up.start()
        try:
            assert pull.stdout is not None
            answered = False
            for text in pull.stdout:
                out.write(text)
                answered = answered or "Pulling from" in text
                if answered:
                    giving_up.cancel()
                    step.progress(f"pulling {reference}: {text.strip()}")
            return pull.wait() == 0
        finally:
            giving_up.cancel()
            pull.terminate()

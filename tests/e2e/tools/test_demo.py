"""``make demo``, as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tools.cluster import deploy


@pytest.mark.alone
@pytest.mark.usefixtures("kubectl_with_operator")
def test_the_demo_shows_what_it_says() -> None:
    """The demo shows all stages, new pods answer within about a second, and a rolling restart fails no call."""
    demo = [sys.executable, "-m", "tools.demo"]
    run = subprocess.run(demo, cwd=deploy.REPOSITORY, capture_output=True, text=True, timeout=1200, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.findall(r"Stage (\d), (\w+)", run.stdout) == [
        (number, name) for number, name in (stage.split("-") for stage in deploy.STAGES)
    ]
    assert len(re.findall(r"^│ greetserver-\S+ +│.* s +│$", run.stdout, re.MULTILINE)) == 3
    (delay,) = re.findall(r"Each new pod answered within (\S+) s of being ready, and no call failed\.", run.stdout)
    assert float(delay) < 3, "expected about 1 s, as the README says"
    assert re.search(r"^  0 of \d{4,} calls failed", run.stdout, re.MULTILINE)

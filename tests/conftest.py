"""What every test leaves as it was, and what some ask for."""

import logging
import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.fakes.clock import WallClock

# grpcio tells each GOAWAY on standard error, in the middle of pytest's dots; servers are stopped here all the time.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# A run says the same of the same code, and HYPOTHESIS_PROFILE=search looks for what it does not come upon.
# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", max_examples=2_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_xdist_auto_num_workers() -> int:
    """Two to a core: most of these tests wait, for a timer or for a server, half of their time."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """The log of a program that a test ran would go on writing to what is captured for that test alone."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)

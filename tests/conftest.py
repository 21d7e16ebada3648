"""Global test setup, and fixtures that several packages share."""

import logging
import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.fakes.clock import WallClock

# Otherwise grpcio prints every GOAWAY to standard error, between pytest's dots; tests stop servers all the time.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# By default, runs are deterministic. HYPOTHESIS_PROFILE=search tries more examples, at random.
# There is no deadline for an example, since its duration depends mostly on how busy the machine is.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", max_examples=2_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_xdist_auto_num_workers() -> int:
    """Start two workers per core, since most tests wait for a timer or a server half of the time."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Restore the root logger, since a program under test may add handlers that write to captured output."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)

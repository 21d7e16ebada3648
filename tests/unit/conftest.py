"""What every test leaves as it was, and what some ask for."""

import logging
from collections.abc import Iterator

import hypothesis
import pytest

from tests.unit.wall_clock import WallClock

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


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

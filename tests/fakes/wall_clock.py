"""The machine's wall clock, which somebody may set at any moment."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest

HOUR = 3600.0


class WallClock:
    """What ``time.time`` and the product's ``datetime.now`` say, moved by as much as a test asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real, clock = time.time, self

        class Moved(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + timedelta(seconds=clock.ahead)

        monkeypatch.setattr(time, "time", lambda: real() + clock.ahead)
        monkeypatch.setattr(time, "time_ns", lambda: int((real() + clock.ahead) * 1e9))
        for name, module in list(sys.modules.items()):
            if name.startswith("backendpool") and getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Moved)

    def move(self, seconds: float) -> None:
        """Somebody sets it, forward or, where negative, back."""
        self.ahead += seconds

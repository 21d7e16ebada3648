"""The ``grpc-timeout`` header, by the grammar of gRPC over HTTP/2. Pure.

::

    Timeout      -> "grpc-timeout" TimeoutValue TimeoutUnit
    TimeoutValue -> positive integer as ASCII string of at most 8 digits
    TimeoutUnit  -> "H" / "M" / "S" / "m" / "u" / "n"
"""

from __future__ import annotations

import re
from typing import Final

HEADER: Final = "grpc-timeout"

MAX_SECONDS: Final = 300.0
"""A longer deadline is cut to this: what nobody waits for any more should not occupy a backend for hours."""

_GRAMMAR: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def parse_timeout(text: str) -> float:
    """Seconds, at most :data:`MAX_SECONDS`; raises :class:`ValueError` with a sentence that says what to do."""
    match = _GRAMMAR.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"{text[:40]!r} is no timeout: give 1 to 8 digits, not all 0, and a unit of H, M, S, m, u or n, as in 250m"
        )
    return min(int(match[1]) * _SECONDS[match[2]], MAX_SECONDS)

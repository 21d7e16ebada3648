"""Parser of the ``grpc-timeout`` header, by the grammar of gRPC over HTTP/2.

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
"""The maximum deadline. Longer ones are reduced to it, so that no call occupies a backend for hours."""

_GRAMMAR: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def parse_timeout(text: str) -> float:
    """Return the timeout in seconds, at most :data:`MAX_SECONDS`; raise :class:`ValueError` if it is malformed."""
    match = _GRAMMAR.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"invalid {HEADER} {text[:40]!r}: expected a positive number of at most 8 digits"
            " and a unit (H, M, S, m, u or n), such as 250m"
        )
    return min(int(match[1]) * _SECONDS[match[2]], MAX_SECONDS)

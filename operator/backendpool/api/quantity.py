"""Kubernetes resource quantities as exact numbers. Pure.

The API server accepts quantities with exponents of ten digits (``1e1000000000``). So a quantity is never expanded: it
is a mantissa and a power of ten, and only powers close to each other are compared by multiplication.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_LONGEST: Final = 64
"""Characters: more than any quantity needs, and few enough to convert quickly."""

_FORM: Final = re.compile(
    r"(?P<sign>[+-]?)(?=\.?[0-9])(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))?",
    re.ASCII,
)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_MILLI: Final = -3


@dataclass(frozen=True, slots=True)
class Quantity:
    """``mantissa`` times 10 to the power of ``exponent``, normalized, so that equal quantities are equal objects."""

    mantissa: int
    exponent: int

    @classmethod
    def parse(cls, value: object) -> Self | None:
        """Parse a string or an integer as apimachinery's ``resource.ParseQuantity`` does; None if it is invalid.

        The result is rounded to thousandths, away from zero, as the API server does for container resources.
        """
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
        if found is None:
            return None
        whole, part, suffix = found["whole"], found["part"] or "", found["suffix"] or ""
        mantissa = int(whole + part) << _BINARY.get(suffix, 0)
        exponent = int(found["exponent"] or _DECIMAL.get(suffix, 0)) - len(part)
        rounded, exponent = _rounded_up(mantissa, exponent)
        return cls(*_normalized(-rounded if found["sign"] == "-" else rounded, exponent))

    def __le__(self, other: Self) -> bool:
        if (self.mantissa > 0) != (other.mantissa > 0) or not self.mantissa or not other.mantissa:
            return self.mantissa <= other.mantissa
        mine, others = self._magnitude(), other._magnitude()
        if mine != others:
            return (mine < others) == (self.mantissa > 0)
        # Of one magnitude: the exponents differ by fewer digits than a mantissa has.
        common = min(self.exponent, other.exponent)
        return self._scaled(common) <= other._scaled(common)

    def _magnitude(self) -> int:
        return len(str(abs(self.mantissa))) + self.exponent

    def _scaled(self, exponent: int) -> int:
        factor: int = 10 ** (self.exponent - exponent)
        return self.mantissa * factor


def _rounded_up(mantissa: int, exponent: int) -> tuple[int, int]:
    excess = _MILLI - exponent
    if excess <= 0 or not mantissa:
        return mantissa, exponent
    if excess > len(str(mantissa)):
        return 1, _MILLI
    return -(-mantissa // 10**excess), _MILLI


def _normalized(mantissa: int, exponent: int) -> tuple[int, int]:
    if not mantissa:
        return 0, 0
    digits = str(mantissa)
    zeros = len(digits) - len(digits.rstrip("0"))
    return mantissa // 10**zeros, exponent + zeros

"""Parser of the grpc-timeout header."""

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greet.gateway.deadline import MAX_SECONDS, parse_timeout

UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def is_timeout(text: str) -> bool:
    """Whether the grammar allows ``text``; independent of the parser's implementation."""
    digits, unit = text[:-1], text[-1:]
    return 1 <= len(digits) <= 8 and set(digits) <= set(string.digits) and unit in UNITS and digits.strip("0") != ""


@given(st.integers(1, 99_999_999), st.sampled_from(sorted(UNITS)), st.integers(0, 7))
def test_every_timeout_of_the_grammar_is_read(value: int, unit: str, zeros: int) -> None:
    """Any positive integer of up to 8 digits with any unit is converted to seconds, up to the maximum."""
    text = str(value).rjust(min(8, len(str(value)) + zeros), "0") + unit
    assert math.isclose(parse_timeout(text), min(value * UNITS[unit], MAX_SECONDS))


@given(st.one_of(st.text(), st.from_regex(r"[0-9 +.eE_-]{0,10}[HMSmunhsd]?\n?", fullmatch=True)))
def test_all_else_is_refused(text: str) -> None:
    """Text that the grammar does not allow raises ValueError, never another exception."""
    if is_timeout(text):
        assert 0 < parse_timeout(text) <= MAX_SECONDS
    else:
        with pytest.raises(ValueError, match=r"invalid grpc-timeout .*: expected"):
            parse_timeout(text)


@pytest.mark.parametrize(
    "text", ["", "S", "1", "0S", "00000000n", "123456789m", "-1S", "1.5S", "1 S", "1s", "1S\n", "٣S"]
)
def test_near_misses_are_refused(text: str) -> None:
    """Text that only resembles a timeout is rejected."""
    with pytest.raises(ValueError, match="invalid grpc-timeout"):
        parse_timeout(text)

"""Resource quantities, as the API server reads them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.quantity import Quantity

FACTORS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parsed(value: object) -> Quantity:
    found = Quantity.parse(value)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1", "1000m"),
        (2, "2"),
        ("0.5Gi", "512Mi"),
        (".5", "500m"),
        ("5.", "5"),
        ("+1k", "1e3"),
        ("1E", "1E18"),
        ("-0", "0"),
        ("100u", "1m"),
        ("1500u", "2m"),
        ("-1500u", "-2m"),
        ("1e-1000000000", "1m"),
        ("10e999999", "1e1000000"),
    ],
)
def test_equal_amounts_are_equal(text: object, same: object) -> None:
    """Equal amounts in different forms are equal, rounded up to thousandths like the API server does."""
    assert parsed(text) == parsed(same)


@pytest.mark.parametrize(
    "value", ["", "lots", "1 Gi", "Gi", ".", "-", "1KiB", "1e", "1e1.5", "1" * 65, "٣", "1\n", True, None, 1.5, [], {}]
)
def test_what_is_no_quantity(value: object) -> None:
    """Text that is no quantity gives None."""
    assert Quantity.parse(value) is None


@given(
    st.tuples(*[st.tuples(st.integers(-(10**9), 10**9), st.sampled_from(sorted(FACTORS)))] * 2),
)
def test_order_is_that_of_the_numbers(pair: tuple[tuple[int, str], tuple[int, str]]) -> None:
    """Amounts compare as numbers, each rounded up to thousandths."""
    (one, other), (first, second) = ([f"{number}{suffix}" for number, suffix in pair], map(_number, pair))
    assert (parsed(one) <= parsed(other)) is (first <= second)
    assert (parsed(one) == parsed(other)) is (first == second)


def _number(amount: tuple[int, str]) -> int:
    number, suffix = amount
    thousandths = Decimal(number).scaleb(FACTORS[suffix] + 3)
    return int(thousandths.to_integral_value("ROUND_UP"))


@given(
    st.tuples(*[st.tuples(st.integers(-9, 9), st.integers(-(10**30), 10**30))] * 2),
)
def test_no_exponent_is_too_large(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Huge exponents are compared without expanding them."""
    (one, power), (other, another) = pair
    lower = parsed(f"{one}e{power}") <= parsed(f"{other}e{another}")
    if (one > 0) != (other > 0):
        assert lower is (one <= 0)
    elif one == other == 1 and min(power, another) >= 0:
        assert lower is (power <= another)

"""What all pickers have in common."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.load_balancing import Policy
from backendpool.client._picker import Picker, picker_for
from backendpool.client._policies.consistent_hash import ConsistentHash
from backendpool.client._policies.least_request import LeastRequest
from backendpool.client._policies.random import Random as Uniform
from backendpool.client._policies.round_robin import RoundRobin
from backendpool.client._policies.weighted_round_robin import WeightedRoundRobin
from tests.unit.client.policies.candidates import NAMES, Backend

CLASSES = {
    Policy.ROUND_ROBIN: RoundRobin,
    Policy.RANDOM: Uniform,
    Policy.LEAST_REQUEST: LeastRequest,
    Policy.WEIGHTED_ROUND_ROBIN: WeightedRoundRobin,
    Policy.CONSISTENT_HASH: ConsistentHash,
}
KEYS = (None, b"", b"user-1", b"user-2")

a, b, c, d = (Backend(name) for name in "abcd")


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("key", KEYS)
def test_avoids_where_there_is_another(policy: Policy, key: bytes | None) -> None:
    """An avoided backend is picked only if it is the only one."""
    picker: Picker[Backend] = picker_for(policy, Random(1))
    picker.replace((a, b))
    assert {picker.pick(avoid=[a], key=key) for _ in range(20)} == {b}
    picker.replace((a, b, c, d))
    assert {picker.pick(avoid=[a, b, d], key=key) for _ in range(20)} == {c}
    assert picker.pick(avoid=[a, b, c, d], key=key) in {a, b, c, d}
    picker.replace((a,))
    assert picker.pick(avoid=[a], key=key) is a


@given(st.sampled_from(Policy), st.lists(NAMES, max_size=8), st.integers(0, 2**32), st.sampled_from(KEYS))
def test_picks_only_what_is_there(policy: Policy, sets: list[tuple[str, ...]], seed: int, key: bytes | None) -> None:
    """After any changes, only current backends are picked, and each can be."""
    known = {name: Backend(name) for name in "abcdefgh"}
    picker: Picker[Backend] = picker_for(policy, Random(seed))
    for names in sets:
        items = tuple(known[name] for name in names)
        picker.replace(items)
        assert {picker.pick(key=key) for _ in range(5)} <= set(items)
        picker.replace(())


@pytest.mark.parametrize("policy", list(Policy))
def test_nobody_starves(policy: Policy) -> None:
    """Among calls without a key, every backend gets some."""
    picker: Picker[Backend] = picker_for(policy, Random(1))
    picker.replace((a, b, c, d))
    assert {picker.pick() for _ in range(100)} == {a, b, c, d}


def test_each_policy_has_its_picker() -> None:
    """Each policy of the spec has its picker."""
    pickers: dict[Policy, Picker[Backend]] = {policy: picker_for(policy) for policy in Policy}
    assert {policy: type(picker) for policy, picker in pickers.items()} == CLASSES

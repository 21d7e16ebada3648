"""Whose turn it is."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client.picker import Picker, Random, RoundRobin, picker_for
from backendpool.spec import Policy

SETS = st.sets(st.sampled_from("abcdefgh"), min_size=1).map(lambda names: tuple(sorted(names)))


def round_robin(items: tuple[str, ...]) -> RoundRobin[str]:
    picker: RoundRobin[str] = RoundRobin()
    picker.replace(items)
    return picker


@given(SETS, st.integers(0, 100))
def test_shares_are_exact(items: tuple[str, ...], picks: int) -> None:
    """After any number of picks, no item was picked more than once more than another."""
    picker = round_robin(items)
    counts = Counter(dict.fromkeys(items, 0))
    counts.update(picker.pick() for _ in range(picks))
    assert counts.keys() == set(items)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(st.lists(st.tuples(SETS, st.integers(0, 20)), min_size=1, max_size=20))
def test_rotation_is_exact_across_changes(steps: list[tuple[tuple[str, ...], int]]) -> None:
    """Between two picks of an item that stayed, every other that stayed too is picked exactly once.

    So nobody starves and nobody is favoured, however often the set changes.
    """
    picker: RoundRobin[str] = RoundRobin()
    # For each item since its last pick: who was there all the time, and who was picked.
    stayed: dict[str, set[str]] = {}
    picked: dict[str, Counter[str]] = {}
    for items, picks in steps:
        picker.replace(items)
        stayed = {item: there & set(items) for item, there in stayed.items() if item in items}
        for _ in range(picks):
            item = picker.pick()
            assert item in items
            if item in stayed:
                others = stayed[item] - {item}
                assert {other: picked[item][other] for other in others} == dict.fromkeys(others, 1)
            for seen in picked.values():
                seen[item] += 1
            stayed[item], picked[item] = set(items), Counter()


@given(SETS, SETS)
def test_whoever_was_next_stays_next(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """A change moves the turn only where the one that had it is gone."""
    picker, twin = round_robin(before), round_robin(before)
    for _ in before:
        last = picker.pick()
        while twin.pick() != last:  # both begin anywhere; from here on, they are in step
            pass
    upcoming = [twin.pick() for _ in before]
    picker.replace(after)
    expected = next((item for item in upcoming if item in after), None)
    assert picker.pick() in ({expected} if expected else set(after))


def test_begins_anywhere() -> None:
    """Clients that start together do not all begin with the same backend."""
    random.seed(1)
    assert {round_robin(("a", "b", "c")).pick() for _ in range(50)} == {"a", "b", "c"}


def test_random_gives_equal_shares_in_no_order() -> None:
    """Each item is as likely as the others, whatever came before it."""
    random.seed(1)
    picker: Random[str] = Random()
    picker.replace(("a", "b", "c"))
    picks = [picker.pick() for _ in range(3000)]
    assert all(900 < count < 1100 for count in Counter(picks).values())
    assert len(set(pairwise(picks))) == 9


@pytest.mark.parametrize("policy", list(Policy))
def test_avoids_where_there_is_another(policy: Policy) -> None:
    """Who is to be avoided is picked only where it is alone."""
    picker: Picker[str] = picker_for(policy)
    picker.replace(("a", "b"))
    assert {picker.pick(avoid=["a"]) for _ in range(20)} == {"b"}
    picker.replace(("a", "b", "c", "d"))
    assert {picker.pick(avoid=["a", "b", "d"]) for _ in range(20)} == {"c"}
    picker.replace(("a",))
    assert picker.pick(avoid=["a"]) == "a"


def test_each_policy_has_its_picker() -> None:
    """What the pool's author writes is what is done."""
    assert isinstance(picker_for(Policy.ROUND_ROBIN), RoundRobin)
    assert isinstance(picker_for(Policy.RANDOM), Random)

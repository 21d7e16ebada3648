"""Round robin."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.round_robin import RoundRobin
from tests.unit.client.policies.candidates import NAMES


def round_robin(items: tuple[str, ...], seed: int = 1) -> RoundRobin[str]:
    picker: RoundRobin[str] = RoundRobin(Random(seed))
    picker.replace(items)
    return picker


@given(NAMES, st.integers(0, 100))
def test_shares_are_exact(items: tuple[str, ...], picks: int) -> None:
    """After any number of picks, the counts of two backends differ by at most one."""
    picker = round_robin(items)
    counts = Counter(dict.fromkeys(items, 0))
    counts.update(picker.pick() for _ in range(picks))
    assert counts.keys() == set(items)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(st.lists(st.tuples(NAMES, st.integers(0, 20)), min_size=1, max_size=20))
def test_rotation_is_exact_across_changes(steps: list[tuple[tuple[str, ...], int]]) -> None:
    """Between two picks of a backend that stays, every other backend that stays is picked exactly once.

    So changes of the set neither starve nor favor a backend.
    """
    picker: RoundRobin[str] = RoundRobin(Random(1))
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


@given(NAMES, NAMES)
def test_whoever_was_next_stays_next(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """A change keeps the next backend, unless that was removed."""
    picker, twin = round_robin(before, seed=1), round_robin(before, seed=2)
    for _ in before:
        last = picker.pick()
        while twin.pick() != last:  # both begin anywhere; from here on, they are in step
            pass
    upcoming = [twin.pick() for _ in before]
    picker.replace(after)
    expected = next((item for item in upcoming if item in after), None)
    assert picker.pick() in ({expected} if expected else set(after))


def test_begins_anywhere() -> None:
    """Clients that start together begin with different backends."""
    assert {round_robin(("a", "b", "c"), seed).pick() for seed in range(50)} == {"a", "b", "c"}

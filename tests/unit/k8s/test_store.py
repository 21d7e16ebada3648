"""What lists and events change in a store."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.k8s.store import Key, Store
from tests.unit.k8s.reflecting import Change, Item, noted, parse
from tests.unit.k8s.scripted import thing

Contents = dict[str, int]


def store_of(use: Callable[[Change], object]) -> Store[Item]:
    return Store(parse, noted(use))


def values(store: Store[Item]) -> dict[Key, int]:
    return {key: item.value for key, item in store.items.items()}


def objects(contents: Contents) -> list[dict[str, Any]]:
    return [thing(name, value) for name, value in contents.items()]


contents = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3))


@given(st.lists(contents))
def test_changes_lead_from_list_to_list(lists: list[Contents]) -> None:
    """Applying all reported changes leads to the content of the store, and no change is empty."""
    mirror: dict[Key, int] = {}

    def mirrored(change: Change) -> None:
        assert change.old != change.new
        assert mirror.get(change.key) == change.old
        if change.new is None:
            del mirror[change.key]
        else:
            mirror[change.key] = change.new

    store = store_of(mirrored)
    for version, each in enumerate(lists):
        store.replace(store.parse_page(objects(each)), str(version))
        assert mirror == values(store) == {("ns", name): value for name, value in each.items()}


def test_list_is_in_place_before_it_is_told() -> None:
    """When the first change of a list is reported, the store holds the whole list."""
    seen: list[int] = []
    store = store_of(lambda change: seen.append(len(store.items)))
    store.replace(store.parse_page(objects({"a": 1, "b": 2, "c": 3})), "1")
    assert seen == [3, 3, 3]


def test_reading_a_page_changes_nothing() -> None:
    """Parsing a page changes neither the store nor its listener."""
    changes: list[Change] = []
    store = store_of(changes.append)
    store.parse_page(objects({"a": 1}))
    assert (changes, values(store)) == ([], {})


def test_equal_object_is_taken_and_not_told() -> None:
    """An equal object replaces the stored one without a report."""

    @dataclass(frozen=True)
    class Read:
        value: int
        version: str = field(compare=False)

    changes: list[Read | None] = []

    def read(obj: dict[str, Any]) -> Read:
        return Read(obj["value"], obj["metadata"]["resourceVersion"])

    store = Store(read, lambda old, new: changes.append(new))
    store.put(thing("a", 1, version=5))
    store.put(thing("a", 1, version=6))
    assert len(changes) == 1
    assert store.items["ns", "a"].version == "6"


def test_event_of_before_the_list_changes_nothing() -> None:
    """Events from before the list change nothing."""
    store = store_of(lambda change: None)
    store.replace(store.parse_page([thing("a", 1, version=5)]), "10")
    before = values(store)
    assert not store.put(thing("a", 9, version=4))
    assert not store.put(thing("gone", 2, version=9))
    assert not store.delete(thing("a", 1, version=10))
    assert (values(store), store.version) == (before, "10")
    assert store.delete(thing("a", 1, version=11))


def test_versions_are_numbers() -> None:
    """Resource versions are compared as numbers (KEP-5504)."""
    store = store_of(lambda change: None)
    assert store.put(thing("a", 9, version=9))
    assert store.put(thing("a", 10, version=10))
    assert not store.put(thing("a", 9, version=9))


def test_bookmark_may_say_the_same_again() -> None:
    """A bookmark with the current version counts, an older one does not."""
    store = store_of(lambda change: None)
    store.replace({}, "10")
    assert [store.bookmark(thing("", version=version)) for version in (10, 12, 12, 11)] == [True, True, True, False]
    assert store.version == "12"


def test_unparsable_object_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """An object that cannot be parsed keeps its previous state and is logged once until it can be parsed."""
    changes: list[Change] = []
    store = store_of(changes.append)
    store.replace(store.parse_page(objects({"a": 1})), "1")
    store.put(thing("a", "bad", version=2))
    store.replace(store.parse_page([thing("a", "bad"), thing("b", 2)]), "3")
    assert values(store) == {("ns", "a"): 1, ("ns", "b"): 2}
    store.put(thing("a", 3, version=4))
    assert changes[1:] == [Change(("ns", "b"), None, 2), Change(("ns", "a"), 1, 3)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    store.put(thing("a", "bad again", version=5))
    assert len(caplog.records) == 2, "after a good version, a bad one is news"


def test_unparsable_object_goes_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    """An object that could never be parsed is not stored, and its deletion reports nothing."""
    changes: list[Change] = []
    store = store_of(changes.append)
    store.put(thing("a", "bad", version=1))
    store.replace(store.parse_page([thing("a", "bad")]), "2")
    assert len(caplog.records) == 1
    store.delete(thing("a", "bad", version=3))
    store.delete(thing("never", "seen", version=4))
    assert (changes, values(store)) == ([], {})


def test_object_that_cannot_be_used_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """If ``on_change`` raises, the error is logged and the change is reported again by the next event or list."""
    broken = True
    told: list[Change] = []

    def use(change: Change) -> None:
        if broken and change.key == ("ns", "a"):
            raise ZeroDivisionError
        told.append(change)

    store = store_of(use)
    store.replace(store.parse_page(objects({"a": 1, "b": 1})), "1")
    assert values(store) == {("ns", "b"): 1}
    broken = False
    store.replace(store.parse_page(objects({"a": 1, "b": 1})), "2")
    assert told == [Change(("ns", "b"), None, 1), Change(("ns", "a"), None, 1)]
    broken = True
    store.put(thing("a", 2, version=3))
    store.delete(thing("a", 2, version=4))
    assert store.items["ns", "a"].value == 1
    broken = False
    store.delete(thing("a", 2, version=5))
    assert told[-1] == Change(("ns", "a"), 1, None)
    assert [bool(record.exc_info) for record in caplog.records] == [True] * 3


def test_items_are_read_only() -> None:
    """The items of a store are read-only."""
    store = store_of(lambda change: None)
    with pytest.raises(TypeError):
        store.items["ns", "a"] = Item(("ns", "a"), 1)  # type: ignore[index]

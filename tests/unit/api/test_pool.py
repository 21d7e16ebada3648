"""Parsing a pool."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.api import pool as pool_module
from backendpool.api.conditions import ChildrenStatus
from backendpool.api.pool import parse_pool
from backendpool.api.spec import PoolSpec, parse_spec
from backendpool.api.status import build_status
from backendpool.errors import SpecError
from tests.fakes.crd import crd_schema
from tests.fakes.objects import pool


def test_metadata_is_kept() -> None:
    """Uid, generation and resource version are parsed."""
    parsed = parse_pool(pool(uid="u1", generation=3, resource_version=41, status={"revision": "abc"}))
    assert parsed.key == ("default", "greetserver")
    assert (parsed.uid, parsed.generation, parsed.resource_version) == ("u1", 3, "41")
    assert parsed.status == {"revision": "abc"}
    assert parsed.deleting is False


def test_equal_documents_are_equal_pools() -> None:
    """Equal documents give equal pools, so a relist shows no change."""
    assert parse_pool(pool()) == parse_pool(pool())


def test_bad_spec_does_not_fail_the_pool() -> None:
    """A pool with an invalid spec is parsed, so its status can be written."""
    parsed = parse_pool(pool(uid="u1", policy="Newer"))
    assert parsed.uid == "u1"
    with pytest.raises(SpecError, match=r"spec\.policy: this version knows RoundRobin, Random"):
        parsed.valid_spec()


def test_missing_spec_is_a_bad_spec() -> None:
    """A missing spec gives an error that names what is missing."""
    parsed = parse_pool({"metadata": pool()["metadata"]})
    assert isinstance(parsed.spec, SpecError)
    assert parsed.spec.field == "spec.selector"


def test_good_spec_is_given_out() -> None:
    """A valid spec is returned typed."""
    spec = parse_pool(pool(port="grpc")).valid_spec()
    assert isinstance(spec, PoolSpec)
    assert spec.port == "grpc"


def test_deletion_is_seen() -> None:
    """A pool in foreground deletion is marked as such."""
    dying = pool()
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert parse_pool(dying).deleting is True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted(crd_schema()["spec"]["properties"])


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), JSON)
def test_no_spec_and_no_status_can_hide_a_pool(spec: dict[str, Any], status: object) -> None:
    """A pool with any spec and any status is parsed, and its status can be built."""
    parsed = parse_pool({**pool(**spec), "status": status})
    build_status(parsed, None, ChildrenStatus(), datetime(2026, 1, 2, tzinfo=UTC))


@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_bad_specs_are_told_by_their_field(spec: object) -> None:
    """Any document gives a spec or a SpecError, and no other error."""
    with suppress(SpecError):
        parse_spec(spec)


def test_conditions_that_are_none_do_not_count() -> None:
    """Conditions without a required field are ignored."""
    sound = {"type": "Ready", "status": "True", "reason": "PoolReady", "message": "It takes calls."}
    parsed = parse_pool(pool(status={"revision": "abc", "conditions": [{"not": "one"}, sound, None]}))
    assert parsed.status == {"revision": "abc", "conditions": [sound]}


def test_parser_that_fails_makes_a_bad_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error of the parser is stored with the pool, and the reconciler raises it."""

    def broken(_: object) -> Never:
        raise ZeroDivisionError

    monkeypatch.setattr(pool_module, "parse_spec", broken)
    parsed = parse_pool(pool())
    with pytest.raises(SpecError, match="ZeroDivisionError"):
        parsed.valid_spec()
    assert isinstance(parsed.unexpected, ZeroDivisionError)

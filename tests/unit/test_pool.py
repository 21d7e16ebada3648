"""A pool read from the API server's document."""

from __future__ import annotations

import pytest

from backendpool.errors import SpecError
from backendpool.pool import parse_pool
from backendpool.spec import PoolSpec
from tests.unit.pools import document


def test_metadata_is_kept() -> None:
    """What a safe write needs is there: uid, generation and version."""
    pool = parse_pool({**document(), "status": {"revision": "abc"}})
    assert pool.key == ("default", "greetserver")
    assert (pool.uid, pool.generation, pool.resource_version) == ("pool-uid", 3, "41")
    assert pool.status == {"revision": "abc"}
    assert pool.deleting is False


def test_equal_documents_are_equal_pools() -> None:
    """A relist that brings nothing new is seen as nothing new."""
    assert parse_pool(document()) == parse_pool(document())


def test_bad_spec_does_not_fail_the_pool() -> None:
    """A pool whose spec cannot be read is still a pool whose status can be written."""
    pool = parse_pool(document(policy="Newer"))
    assert pool.uid == "pool-uid"
    with pytest.raises(SpecError, match=r"spec\.policy: this version knows RoundRobin, Random"):
        pool.valid_spec()


def test_missing_spec_is_a_bad_spec() -> None:
    """A document without a spec is told what is missing."""
    pool = parse_pool({"metadata": document()["metadata"]})
    assert isinstance(pool.spec, SpecError)
    assert pool.spec.field == "spec.selector"


def test_good_spec_is_given_out() -> None:
    """A spec that can be acted on comes typed."""
    spec = parse_pool(document(port="grpc")).valid_spec()
    assert isinstance(spec, PoolSpec)
    assert spec.port == "grpc"


def test_deletion_is_seen() -> None:
    """A pool that is being deleted in the foreground is known as such."""
    dying = document()
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert parse_pool(dying).deleting is True

"""Hash keys of calls."""

from __future__ import annotations

from typing import Any

import pytest
from grpc.aio import Metadata

from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.client._options import Options
from backendpool.client._subchannel import Connection
from tests.unit.client.selection.selected import Selected, backends

HASHED = LoadBalancing(Policy.CONSISTENT_HASH, hash_header="User")


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ((("user", "ada"),), b"ada"),
        (Metadata(("other", "x"), ("user", "ada")), b"ada"),
        ((("user", "ada"), ("user", "bob")), b"ada,bob"),
        ((), None),
        (None, None),
    ],
)
async def test_key_is_what_the_pools_header_says(metadata: Any, key: bytes | None) -> None:
    """The key is the metadata value of the pool's header, in lower case; several values are joined (gRFC A42)."""
    async with backends("") as one:
        key_of = Selected(one, HASHED).selection.key_of
        assert key_of is not None
        assert key_of("/test.Who/Are", metadata) == key


async def test_key_is_what_the_callable_says() -> None:
    """hash_key gets method and metadata and overrides the pool's header; str and bytes are equivalent."""
    async with backends("") as one:
        by = Options(hash_key=lambda method, metadata: metadata.get("tenant", method))
        key_of = Selected(one, HASHED, by).selection.key_of
        assert key_of is not None
        assert key_of("/test.Who/Are", None) == b"/test.Who/Are"
        assert key_of("/test.Who/Are", (("tenant", b"t"), ("user", "ada"))) == b"t"


async def test_calls_of_one_key_go_to_one_backend() -> None:
    """Calls with one key go to one backend while it exists, and again when it returns; others go anywhere."""
    async with backends("", "", "") as three:
        selected = Selected(three, HASHED)
        (owner,) = selected.shares(20, b"ada")
        (owning,) = (backend for backend in three if backend.endpoint.pod_uid == owner)
        owning.connection = Connection.FAILED
        selected.selection.replace(three)
        (heir,) = selected.shares(20, b"ada")
        assert heir != owner
        owning.connection = Connection.CONNECTED
        selected.selection.replace(three)
        assert selected.shares(20, b"ada") == {owner: 20}
        assert selected.shares(200).keys() == {"0", "1", "2"}

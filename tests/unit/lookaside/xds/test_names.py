"""By which names a pool is known."""

import pytest

from backendpool.lookaside.xds.names import CLUSTER, short_type
from tests.unit.lookaside.views import POOL


@pytest.mark.parametrize(
    "name", ["greetserver", "greetserver.default", "greetserver:50051", "greetserver.default:1", "greetserver:65535"]
)
def test_each_name_of_the_pool_is_known(name: str) -> None:
    """Short or full, with or without a port."""
    assert POOL.matches(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "greetserver.other", "other", "other.default", "greetserver.", "greetserver:", "greetserver:0"),
        *("greetserver:65536", "greetserver:grpc", "greetserver:+1", "greetserver:٣", "greetserver:1:2", "*"),
    ],
)
def test_other_names_are_not(name: str) -> None:
    """What is not the pool's is not answered for, however near it comes."""
    assert not POOL.matches(name)


def test_types_are_short_in_logs() -> None:
    """A client cannot have us write what it likes into logs and metrics."""
    assert short_type(CLUSTER) == "Cluster"
    assert short_type("type.googleapis.com/evil.Type") == "other"

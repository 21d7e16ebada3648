"""The names of a pool in xDS."""

import pytest

from backendpool.lookaside.xds.names import CLUSTER, short_type
from tests.unit.lookaside.snapshots import POOL


@pytest.mark.parametrize(
    "name", ["greetserver", "greetserver.default", "greetserver:50051", "greetserver.default:1", "greetserver:65535"]
)
def test_each_name_of_the_pool_is_known(name: str) -> None:
    """A pool has a short and a full name, each with or without a port."""
    assert POOL.matches(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "greetserver.other", "other", "other.default", "greetserver.", "greetserver:", "greetserver:0"),
        *("greetserver:65536", "greetserver:grpc", "greetserver:+1", "greetserver:٣", "greetserver:1:2", "*"),
    ],
)
def test_other_names_are_not(name: str) -> None:
    """Similar names of other pools are not served."""
    assert not POOL.matches(name)


def test_types_are_short_in_logs() -> None:
    """Types that are not served appear as "other", so clients cannot write arbitrary text into logs and metrics."""
    assert short_type(CLUSTER) == "Cluster"
    assert short_type("type.googleapis.com/evil.Type") == "other"

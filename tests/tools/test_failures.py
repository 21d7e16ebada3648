"""What is kept of a failed e2e test."""

from tests.e2e.support.failures import concerned


def test_namespaces_are_those_that_the_fixtures_name() -> None:
    """Namespaces are found in fixtures that are texts, mappings or objects; similar names are ignored."""
    there = [f"namespace/{name}" for name in ("default", "e2e-a", "e2e-a-1", "greet-pool", "greet-sticky")]
    fixtures = {"namespace": "e2e-a", "stages": {"4-pool": "greet-pool"}, "place": "default"}
    assert concerned(there, repr(fixtures)) == ["e2e-a", "greet-pool"]

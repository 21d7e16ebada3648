"""Fixtures shared by the tests of calls."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.client.instrumentation import Instrumentation, instrumented
from tests.unit.client.pods import FailingPod


@pytest.fixture(params=list(Instrumentation))
def instrumentation(request: pytest.FixtureRequest) -> Iterator[Instrumentation]:
    """Run the test with each kind of interceptors, and without any."""
    by: Instrumentation = request.param
    with instrumented(by):
        yield by


@pytest.fixture
async def failing() -> AsyncIterator[FailingPod]:
    pod = FailingPod("failing")
    await pod.start()
    yield pod
    await pod.stop()

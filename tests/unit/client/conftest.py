"""What tests of calls share."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.client.pods import FailingPod


@pytest.fixture
async def failing() -> AsyncIterator[FailingPod]:
    pod = FailingPod("failing")
    await pod.start()
    yield pod
    await pod.stop()

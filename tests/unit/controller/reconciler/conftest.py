"""Fixture: a reconciler."""

from __future__ import annotations

import pytest

from tests.unit.controller.reconciler.harness import ReconcilerHarness


@pytest.fixture
def harness() -> ReconcilerHarness:
    return ReconcilerHarness()

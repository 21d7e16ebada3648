"""A reconciler."""

from __future__ import annotations

import pytest

from tests.unit.reconcile.world import World


@pytest.fixture
def world() -> World:
    return World()

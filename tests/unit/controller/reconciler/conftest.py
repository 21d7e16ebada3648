"""A reconciler."""

from __future__ import annotations

import pytest

from tests.unit.controller.reconciler.world import World


@pytest.fixture
def world() -> World:
    return World()

"""What is not part of the base install, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backendpool.errors import SettingsError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports that need the extra ``name``: the base install is the light client, and has none of them."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'backendpool[{name}]'") from error

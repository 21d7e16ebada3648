"""What is not part of the base install, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from backendpool.errors import SettingsError


@contextmanager
def extra(name: str, advice: str = "") -> Iterator[None]:
    """Imports that need the extra ``name``: the base install is the light client, and has none of them.

    ``advice`` says how to install what is missing, by default the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(_advice(error.name, name, advice)) from error


def require(name: str, *packages: str) -> None:
    """Raise :class:`SettingsError` unless these top-level ``packages`` of the extra ``name`` are installed.

    Imports nothing, for callers that import them later and elsewhere.
    """
    for package in packages:
        if find_spec(package) is None:
            raise SettingsError(_advice(package, name))


def _advice(package: str | None, name: str, advice: str = "") -> str:
    how = advice or f"pip install 'backendpool[{name}]'"
    return f"{package} is not installed: {how}"

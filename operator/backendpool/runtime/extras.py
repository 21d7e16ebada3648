"""Optional dependencies, and how to install them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from backendpool.errors import SettingsError


@contextmanager
def extra(name: str, advice: str = "") -> Iterator[None]:
    """Turn a failed import into a :class:`SettingsError` that says how to install the extra ``name``.

    ``advice`` replaces that text.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(_advice(error.name, name, advice)) from error


def require(name: str, *packages: str) -> None:
    """Raise :class:`SettingsError` unless these top-level ``packages`` of the extra ``name`` are installed.

    Does not import them.
    """
    for package in packages:
        if find_spec(package) is None:
            raise SettingsError(_advice(package, name))


def _advice(package: str | None, name: str, advice: str = "") -> str:
    how = advice or f"pip install 'backendpool[{name}]'"
    return f"{package} is not installed: {how}"

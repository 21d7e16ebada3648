"""Mounts of ConfigMaps and Secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mount(pod: dict[str, Any], config_maps: Mapping[str, str] | None, secrets: Mapping[str, str] | None) -> None:
    """Mount ConfigMaps and Secrets, given by path, in the only container of ``pod``."""
    sources = [
        *((path, {"configMap": {"name": name}}) for path, name in (config_maps or {}).items()),
        *((path, {"secret": {"secretName": name}}) for path, name in (secrets or {}).items()),
    ]
    (container,) = pod["spec"]["containers"]
    pod["spec"]["volumes"] = [{"name": f"volume-{n}", **source} for n, (_, source) in enumerate(sources)]
    container["volumeMounts"] = [
        {"name": f"volume-{n}", "mountPath": path, "readOnly": True} for n, (path, _) in enumerate(sources)
    ]

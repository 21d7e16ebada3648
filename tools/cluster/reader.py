"""Reads the state of the cluster over one persistent connection.

Tests poll several times a second, and a kubectl process per read would load the cores on which the cluster runs: a read
of one pod takes 0.15 s of CPU time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client, config

_TIMEOUT = 30.0


class ReadError(AssertionError):
    """An error of the API server, or why it could not be reached."""


class Reader:
    """Reads from the cluster of the current context in a kubeconfig, given as a dictionary."""

    def __init__(self, kubeconfig: dict[str, Any]) -> None:
        api = config.new_client_from_config_dict(kubeconfig)
        api.configuration.retries = False  # whoever waits asks again
        self._api = api
        self._core = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)

    def pod(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a pod."""
        return _read(self._core.read_namespaced_pod, name, namespace)

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Return the pods that match ``selector``."""
        found: list[dict[str, Any]] = _read(self._core.list_namespaced_pod, namespace, label_selector=selector)["items"]
        return found

    def post(self, namespace: str, service: str, path: str, body: object) -> tuple[int, str]:
        """Send JSON to a Service (``name:port``) through the API server; returns status and text of the response."""
        place = f"/api/v1/namespaces/{namespace}/services/{service}/proxy{path}"
        request = self._api.param_serialize(
            "POST", place, header_params={"Content-Type": "application/json"}, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self._api.call_api(*request, _request_timeout=_TIMEOUT)
        except urllib3.exceptions.HTTPError as error:
            raise ReadError(f"{place}: {error}") from error
        return answer.status, answer.read().decode()

    def pool(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a pool."""
        place = ("backendpool.io", "v1alpha1", namespace, "grpcbackendpools", name)
        return _read(self._custom.get_namespaced_custom_object, *place)


def _read(call: Callable[..., Any], *args: str, **query: str) -> dict[str, Any]:
    """Return the response as JSON, without conversion to objects of the client; raises :class:`ReadError`."""
    try:
        answer = call(*args, **query, _preload_content=False, _request_timeout=_TIMEOUT)
        found: dict[str, Any] = json.loads(answer.data)
    except (client.ApiException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise ReadError(f"{call.__name__} {' '.join(args)}: {error}") from error
    return found

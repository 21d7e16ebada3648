"""EndpointSlices to test with."""

from collections.abc import Sequence
from typing import Any

from backendpool.api.constants import BACKENDS, COMPONENT_LABEL, POOL_LABEL, SERVICE_NAME_LABEL


def endpoint_slice(
    *ready: str, draining: Sequence[str] = (), name: str = "greetserver-1", port: int = 50051
) -> dict[str, Any]:
    """An EndpointSlice of the pool greetserver with these addresses."""
    going = {"ready": False, "serving": True, "terminating": True}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {SERVICE_NAME_LABEL: "greetserver", POOL_LABEL: "greetserver", COMPONENT_LABEL: BACKENDS},
        },
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": port}],
        "endpoints": [
            *({"addresses": [address], "conditions": {"ready": True}} for address in ready),
            *({"addresses": [address], "conditions": going} for address in draining),
        ],
    }

"""Conversion of a pool's view to and from ``backendpool.v1``. Pure."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import LoadBalancing, outlier_detection_spec, parse_load_balancing
from backendpool.api.pool import PoolView
from backendpool.proto.v1 import endpoints_pb2 as v1

_STATES: Final = {EndpointState.READY: v1.Endpoint.READY, EndpointState.DRAINING: v1.Endpoint.DRAINING}
_KNOWN: Final = {number: state for state, number in _STATES.items()}


def message_of(view: PoolView) -> v1.EndpointSet:
    """Encode a view, without an age."""
    return v1.EndpointSet(
        revision=view.endpoints.revision,
        endpoints=map(_endpoint, view.endpoints.endpoints),
        balancing=_balancing(view.balancing),
    )


def view_of(message: v1.EndpointSet) -> PoolView:
    """Decode a message that is no heartbeat.

    Raises :class:`~backendpool.errors.SpecError` if this version does not know its load balancing.
    """
    return PoolView(endpoints_of(message), parse_load_balancing(_spec(message.balancing)))


def endpoints_of(message: v1.EndpointSet) -> EndpointSet:
    """Decode the endpoints, except those in an unknown state."""
    known = [endpoint for endpoint in message.endpoints if endpoint.state in _KNOWN]
    return EndpointSet(tuple(map(_read_endpoint, known)), message.revision)


def _endpoint(endpoint: Endpoint) -> v1.Endpoint:
    return v1.Endpoint(
        address=endpoint.address,
        port=endpoint.port,
        state=_STATES[endpoint.state],
        pod_uid=endpoint.pod_uid,
        pod_name=endpoint.pod_name,
        node_name=endpoint.node_name,
        zone=endpoint.zone,
    )


def _read_endpoint(endpoint: v1.Endpoint) -> Endpoint:
    return Endpoint(
        address=endpoint.address,
        port=endpoint.port,
        pod_uid=endpoint.pod_uid,
        pod_name=endpoint.pod_name,
        node_name=endpoint.node_name,
        zone=endpoint.zone,
        state=_KNOWN[endpoint.state],
    )


def _balancing(balancing: LoadBalancing) -> v1.Balancing:
    outliers = balancing.outliers
    return v1.Balancing(
        policy=balancing.policy,
        empty_policy=balancing.empty_policy,
        hash_header=balancing.hash_header,
        prefer=balancing.prefer or "",
        outlier_detection=ParseDict(outlier_detection_spec(outliers), v1.OutlierDetection()) if outliers else None,
    )


def _spec(balancing: v1.Balancing) -> dict[str, Any]:
    """Convert to the form of the resource's spec, so that one parser reads both."""
    spec: dict[str, Any] = {"policy": balancing.policy, "emptyPolicy": balancing.empty_policy}
    if balancing.hash_header:
        spec["consistentHash"] = {"header": balancing.hash_header}
    if balancing.prefer:
        spec["locality"] = {"prefer": balancing.prefer}
    if balancing.HasField("outlier_detection"):
        # The JSON names equal those of the spec. Print zeros too, or the spec's defaults would replace them.
        spec["outlierDetection"] = MessageToDict(balancing.outlier_detection, always_print_fields_with_no_presence=True)
    return spec

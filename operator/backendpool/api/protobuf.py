"""A pool's view as ``backendpool.v1`` has it, there and back. Pure."""

from __future__ import annotations

from typing import Any, Final

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import Balancing, OutlierDetection, parse_balancing
from backendpool.api.pool_view import PoolView
from backendpool.proto.v1 import endpoints_pb2 as v1

_STATES: Final = {EndpointState.READY: v1.Endpoint.READY, EndpointState.DRAINING: v1.Endpoint.DRAINING}
_KNOWN: Final = {number: state for state, number in _STATES.items()}


def message_of(view: PoolView) -> v1.EndpointSet:
    """The whole view, without an age."""
    return v1.EndpointSet(
        revision=view.endpoints.revision,
        endpoints=map(_endpoint, view.endpoints.endpoints),
        balancing=_balancing(view.balancing),
    )


def view_of(message: v1.EndpointSet) -> PoolView:
    """The view that a message tells, which is no heartbeat.

    Raises :class:`~backendpool.errors.SpecError` where this version does not know how calls are to be spread.
    """
    return PoolView(endpoints_of(message), parse_balancing(_spec(message.balancing)))


def endpoints_of(message: v1.EndpointSet) -> EndpointSet:
    """Its endpoints, without those in a state that this version does not know."""
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


def _balancing(balancing: Balancing) -> v1.Balancing:
    return v1.Balancing(
        policy=balancing.policy,
        empty_policy=balancing.empty_policy,
        hash_header=balancing.hash_header,
        prefer=balancing.prefer or "",
        outlier_detection=_outlier_detection(balancing.outliers) if balancing.outliers else None,
    )


def _outlier_detection(outliers: OutlierDetection) -> v1.OutlierDetection:
    rate, percentage = outliers.success_rate, outliers.failure_percentage
    return v1.OutlierDetection(
        interval_seconds=outliers.interval,
        base_ejection_seconds=outliers.base_ejection,
        max_ejection_seconds=outliers.max_ejection,
        max_ejection_percent=outliers.max_ejection_percent,
        success_rate=v1.OutlierDetection.SuccessRate(
            stdev_factor=rate.stdev_factor,
            enforcement_percent=rate.enforcement_percent,
            minimum_hosts=rate.minimum_hosts,
            request_volume=rate.request_volume,
        )
        if rate
        else None,
        failure_percentage=v1.OutlierDetection.FailurePercentage(
            threshold=percentage.threshold,
            enforcement_percent=percentage.enforcement_percent,
            minimum_hosts=percentage.minimum_hosts,
            request_volume=percentage.request_volume,
        )
        if percentage
        else None,
    )


def _spec(balancing: v1.Balancing) -> dict[str, Any]:
    """In the words of the resource, for one reader of both."""
    spec: dict[str, Any] = {"policy": balancing.policy, "emptyPolicy": balancing.empty_policy}
    if balancing.hash_header:
        spec["consistentHash"] = {"header": balancing.hash_header}
    if balancing.prefer:
        spec["locality"] = {"prefer": balancing.prefer}
    if balancing.HasField("outlier_detection"):
        spec["outlierDetection"] = _outlier_spec(balancing.outlier_detection)
    return spec


def _outlier_spec(outliers: v1.OutlierDetection) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "intervalSeconds": outliers.interval_seconds,
        "baseEjectionSeconds": outliers.base_ejection_seconds,
        "maxEjectionSeconds": outliers.max_ejection_seconds,
        "maxEjectionPercent": outliers.max_ejection_percent,
    }
    if outliers.HasField("success_rate"):
        rate = outliers.success_rate
        spec["successRate"] = _volume(rate) | {"stdevFactor": rate.stdev_factor}
    if outliers.HasField("failure_percentage"):
        percentage = outliers.failure_percentage
        spec["failurePercentage"] = _volume(percentage) | {"threshold": percentage.threshold}
    return spec


def _volume(of: v1.OutlierDetection.SuccessRate | v1.OutlierDetection.FailurePercentage) -> dict[str, int]:
    return {
        "enforcementPercent": of.enforcement_percent,
        "minimumHosts": of.minimum_hosts,
        "requestVolume": of.request_volume,
    }

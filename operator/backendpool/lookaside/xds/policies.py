"""``spec.policy`` and ``spec.outlierDetection`` in xDS (gRFC A52, A50). Pure.

Clients skip policies that they do not support (gRFC A52), so each list ends with round robin, which all support.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import LoadBalancingPolicy
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as XdsOutlierDetection
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.client_side_weighted_round_robin_pb2 import (  # noqa: E501
    ClientSideWeightedRoundRobin,
)
from envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import LeastRequest
from envoy.extensions.load_balancing_policies.random.v3.random_pb2 import Random
from envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2 import RingHash
from envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from backendpool.api.load_balancing import FailurePercentage, OutlierDetection, Policy, SuccessRate

_NEVER: Final = UInt32Value(value=0)


def load_balancing_policy(policy: Policy) -> LoadBalancingPolicy:
    """List the policies to try, the spec's first.

    Each policy picks among all endpoints of a priority, regardless of their locality, except weighted round robin,
    which gRPC supports only within a locality (gRFC A58).
    """
    return _policy_list(*_preferred(policy), RoundRobin())


def _preferred(policy: Policy) -> Iterator[Message]:
    match policy:
        case Policy.RANDOM:
            yield Random()
        case Policy.LEAST_REQUEST:
            yield LeastRequest(choice_count=UInt32Value(value=2))
        case Policy.WEIGHTED_ROUND_ROBIN:
            yield WrrLocality(endpoint_picking_policy=_policy_list(ClientSideWeightedRoundRobin(), RoundRobin()))
        case Policy.CONSISTENT_HASH:
            yield RingHash(hash_function=RingHash.XX_HASH)
        case Policy.ROUND_ROBIN:
            return


def outlier_detection(outliers: OutlierDetection) -> XdsOutlierDetection:
    """Set every field, because Envoy enforces its own defaults for fields that are left out."""
    found = XdsOutlierDetection(
        interval=Duration(seconds=outliers.interval),
        base_ejection_time=Duration(seconds=outliers.base_ejection),
        max_ejection_time=Duration(seconds=outliers.max_ejection),
        max_ejection_percent=UInt32Value(value=outliers.max_ejection_percent),
        enforcing_consecutive_5xx=_NEVER,
        enforcing_consecutive_gateway_failure=_NEVER,
        enforcing_success_rate=_NEVER,
        enforcing_failure_percentage=_NEVER,
    )
    if outliers.success_rate:
        found.MergeFrom(_success_rate(outliers.success_rate))
    if outliers.failure_percentage:
        found.MergeFrom(_failure_percentage(outliers.failure_percentage))
    return found


def _success_rate(rate: SuccessRate) -> XdsOutlierDetection:
    return XdsOutlierDetection(
        success_rate_stdev_factor=UInt32Value(value=rate.stdev_factor),
        enforcing_success_rate=UInt32Value(value=rate.enforcement_percent),
        success_rate_minimum_hosts=UInt32Value(value=rate.minimum_hosts),
        success_rate_request_volume=UInt32Value(value=rate.request_volume),
    )


def _failure_percentage(percentage: FailurePercentage) -> XdsOutlierDetection:
    return XdsOutlierDetection(
        failure_percentage_threshold=UInt32Value(value=percentage.threshold),
        enforcing_failure_percentage=UInt32Value(value=percentage.enforcement_percent),
        failure_percentage_minimum_hosts=UInt32Value(value=percentage.minimum_hosts),
        failure_percentage_request_volume=UInt32Value(value=percentage.request_volume),
    )


def _policy_list(*policies: Message) -> LoadBalancingPolicy:
    listed = LoadBalancingPolicy()
    for policy in policies:
        extension = listed.policies.add().typed_extension_config
        extension.name = policy.DESCRIPTOR.full_name
        extension.typed_config.Pack(policy, deterministic=True)
    return listed

"""The lookaside: a gRPC server for each pool that serves its endpoints to clients by Resolve, Watch and xDS.

It watches the pool's EndpointSlices itself, so its endpoints are current even while the operator is down.
"""

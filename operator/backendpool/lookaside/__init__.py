"""The lookaside: a small gRPC server for each pool that tells clients which backend to call.

It watches the pool's EndpointSlices itself, so it stays fresh while the operator is away.
"""

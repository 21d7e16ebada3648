"""The GrpcBackendPool as Python values: its spec, endpoints, conditions and status. Pure."""

"""backendpool: balanced gRPC backends on Kubernetes, without a proxy or a sidecar."""

__version__ = "0.1.0"

"""The lookaside as a control plane: gRPC clients of every language, and Envoy, follow a pool by xDS.

::

    names          what a client may call the pool, and the types of resources
    policies       spec.policy and spec.outlierDetection, as xDS has them    }
    resources      a pool's view as Listener, RouteConfiguration, Cluster    } pure
                   and ClusterLoadAssignment                                 }
    snapshot       these, serialised once for all streams                    }
    interest       what a stream asked for, has and lacks, of one type       }
    sotw, delta    the two variants of the protocol, over interests          }
    servicer       both, as gRPC calls them

The protocol is https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol; what gRPC's clients take of it is in
gRFC A27 and those that build on it. docs/xds.md says what they do with it.
"""

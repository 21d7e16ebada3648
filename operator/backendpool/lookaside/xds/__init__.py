"""The xDS control plane of a pool, for gRPC clients of every language and for Envoy.

From a request to its response::

    servicer       ADS, the gRPC service: reads requests, sends responses
    stream_state   one stream: SotwStream and DeltaStream, the two protocol variants          }
    subscription   the resources of one type that a stream subscribed to and already has      }
    snapshot       the resources of the pool at one moment, each encoded once                 } pure
    resources      the pool as Listener, RouteConfiguration, Cluster, ClusterLoadAssignment   }
    policies       spec.policy and spec.outlierDetection as parts of the Cluster              }
    names          resource types, and the names of a pool                                    }

The protocol is https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol; gRFC A27 and its
successors define what gRPC clients support. docs/xds.md lists what each client does with it.
"""

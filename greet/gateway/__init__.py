"""The REST gateway: it turns ``POST /greet`` into a gRPC call, in one of six modes.

::

    app        HTTP routes and responses
    greeting   the request body         } pure
    deadline   the grpc-timeout header  }
    problems   errors as problem details (RFC 9457)
    greeter    the interface of a mode
    modes      the six modes
    lookaside  mode lookaside: connections to the lookaside and to backends
    server     the HTTP server and its graceful shutdown
"""

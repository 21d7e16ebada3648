"""The REST gateway: turns ``POST /greet`` into a gRPC call, in one of six modes.

::

    app        HTTP routes, and the answer to each outcome
    greeting   the request body         } pure
    deadline   the grpc-timeout header  }
    problems   errors as problem details (RFC 9457)
    greeter    what a mode provides
    modes      the six modes
    lookaside  mode lookaside: its connection to the lookaside, and those to backends
    server     the server of all of them
"""

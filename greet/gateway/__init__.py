"""The REST gateway: ``POST /greet`` in, a gRPC call out, by one of five ways to a backend.

::

    app        HTTP: routes, and each outcome as an answer
    greeting   the body of a request    } pure
    deadline   the grpc-timeout header  }
    problems   what went wrong, as RFC 9457 has it
    greeter    what a mode is
    modes/     the five ways
    server     all of it put together
"""

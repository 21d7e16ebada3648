"""The example application: a gRPC greet server and a REST gateway in front of it."""

"""What every process needs: health, metrics and logs, a gRPC server, flags, clocks, backoff."""

"""The watch on pools, the only place that knows kopf."""

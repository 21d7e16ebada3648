"""The only Kubernetes I/O: requests, and reflectors that keep stores current. Nothing else imports kubernetes."""

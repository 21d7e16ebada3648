"""The one place of Kubernetes I/O: requests, and views of the cluster that keep themselves current.

Used alike by the operator, the lookaside and the client library; nothing else imports the Kubernetes client.
"""

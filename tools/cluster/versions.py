"""Pinned versions of kind, its node image and Debian.

node-image/go.mod pins Kubernetes for builds from source, and the Dockerfile pins the Python image.
"""

KIND_MODULE = "sigs.k8s.io/kind"
KIND_VERSION = "v0.33.0"

# The node image that this release of kind was tested with (its pkg/apis/config/defaults/image.go).
STOCK_NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"

DEBIAN_SUITE = "bookworm"

"""The bootstrap file of gRPC's xDS clients. Pure.

The format is described in gRPC's doc/grpc_xds_bootstrap_format.md and gRFC A27, certificates in gRFC A65.
"""

from __future__ import annotations

from typing import Any, Final

from backendpool.api.pool import Pool, lookaside_target
from backendpool.api.spec import LookasideSpec

TLS_FOLDER: Final = "/var/run/secrets/backendpool.io"
"""Where clients mount the CA and their own certificate, in a folder with the pool's name."""


def bootstrap(pool: Pool, zone: str = "", *, certificate: bool = True) -> dict[str, Any]:
    """Build the bootstrap for clients in ``zone``, empty if the zone does not matter.

    If the lookaside serves with TLS, clients trust ``ca.crt`` in :data:`TLS_FOLDER`, and present ``tls.crt`` beside it
    unless ``certificate`` is false. Raises SpecError for an invalid spec.
    """
    lookaside = pool.valid_spec().lookaside
    return {
        "xds_servers": [
            {
                "server_uri": f"dns:///{lookaside_target(pool)}",
                "channel_creds": [_credentials(pool, lookaside, certificate)],
                "server_features": ["xds_v3"],
            }
        ],
        # Some clients require all three; the lookaside only uses the zone.
        "node": {
            "id": f"{pool.name}.{pool.namespace}",
            "cluster": "backendpool",
            "locality": {"zone": zone} if zone else {},
        },
    }


def _credentials(pool: Pool, lookaside: LookasideSpec, certificate: bool) -> dict[str, Any]:
    """Only one kind: a client with a second choice could silently fall back to plaintext."""
    if not lookaside.tls_secret:
        return {"type": "insecure"}
    folder = f"{TLS_FOLDER}/{pool.name}"
    own = {"certificate_file": f"{folder}/tls.crt", "private_key_file": f"{folder}/tls.key"} if certificate else {}
    return {"type": "tls", "config": {"ca_certificate_file": f"{folder}/ca.crt", **own, "refresh_interval": "60s"}}

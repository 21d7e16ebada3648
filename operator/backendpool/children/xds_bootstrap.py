"""What an xDS client has to be told to follow a pool: gRPC's bootstrap file. Pure.

The format is gRPC's own (doc/grpc_xds_bootstrap_format.md in its repository; gRFC A27, and A65 for certificates).
"""

from __future__ import annotations

from typing import Any, Final

from backendpool.api.pool import Pool, lookaside_target
from backendpool.api.spec import LookasideSpec

TLS_FOLDER: Final = "/var/run/secrets/backendpool.io"
"""Where clients mount what they need to trust a lookaside, and to be trusted, in a folder with the pool's name."""


def bootstrap(pool: Pool, zone: str = "", *, certificate: bool = True) -> dict[str, Any]:
    """The bootstrap for clients in ``zone``, empty where it makes no difference.

    Where the lookaside serves by TLS, clients trust the CA whose ``ca.crt`` they have in :data:`TLS_FOLDER`, and show
    the ``tls.crt`` that lies beside it unless they have no ``certificate``. Raises SpecError where the spec is bad.
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
        # Some clients want all three; the lookaside looks at the zone alone.
        "node": {
            "id": f"{pool.name}.{pool.namespace}",
            "cluster": "backendpool",
            "locality": {"zone": zone} if zone else {},
        },
    }


def _credentials(pool: Pool, lookaside: LookasideSpec, certificate: bool) -> dict[str, Any]:
    """One kind alone: a client that had a second choice could fall back to no TLS without a word."""
    if not lookaside.tls_secret:
        return {"type": "insecure"}
    folder = f"{TLS_FOLDER}/{pool.name}"
    own = {"certificate_file": f"{folder}/tls.crt", "private_key_file": f"{folder}/tls.key"} if certificate else {}
    return {"type": "tls", "config": {"ca_certificate_file": f"{folder}/ca.crt", **own, "refresh_interval": "60s"}}

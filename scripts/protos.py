#!/usr/bin/env python3
"""Generate the Python code of the protos: messages, stubs, and the types of both.

    python scripts/protos.py [OUTPUT]

Each proto is named to protoc by its path below its import root, since that path becomes both the generated
import (`from backendpool.lookaside import lookaside_pb2`) and the name in the process-wide descriptor pool.
The code is committed, so that an install needs no compiler; tests/unit/test_protos.py proves that it is
current.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = (("operator", "backendpool/lookaside/lookaside.proto"), (".", "greet/greet.proto"))


def generate(output: Path) -> None:
    """Write the code of all protos below ``output``, as they lie below the repository's root."""
    for root, proto in PROTOS:
        target = output / root
        target.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "grpc_tools.protoc", *_arguments(root, target), proto]
        subprocess.run(command, check=True)  # noqa: S603 (every word of it is ours)


def _arguments(root: str, target: Path) -> list[str]:
    # mypy-protobuf writes the .pyi files; its plugins are named in full, as PATH may not have them.
    plugins = Path(sysconfig.get_path("scripts"))
    return [
        f"--proto_path={ROOT / root}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--plugin={plugins / 'protoc-gen-mypy'}",
        f"--plugin={plugins / 'protoc-gen-mypy_grpc'}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    ]


if __name__ == "__main__":
    generate(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)

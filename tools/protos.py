#!/usr/bin/env python3
"""Generate the Python code of the protos: messages, stubs, and the types of both.

    python tools/protos.py [OUTPUT]

Each proto is named to protoc by its path below its import root, since that path becomes both the generated
import (`from backendpool.lookaside import lookaside_pb2`) and the name in the process-wide descriptor pool.
The code is committed, so that an install needs no compiler; tests/tools/test_protos.py proves that it is
current.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
PROTOS = (
    ("operator", "backendpool/proto/orca/orca.proto"),
    ("operator", "backendpool/proto/lookaside/lookaside.proto"),
    ("operator", "backendpool/proto/v1/endpoints.proto"),
    (".", "greet/greet.proto"),
)
TRANSCODED = "examples/envoy/greet.pb"
# mypy-protobuf writes the .pyi files; its plugins are named in full, as PATH may not have them.
PLUGINS = Path(sysconfig.get_path("scripts"))


def generate(output: Path) -> None:
    """Write the code of all protos below ``output``, with the same layout as in the repository."""
    for root, proto in PROTOS:
        target = output / root
        target.mkdir(parents=True, exist_ok=True)
        has_service = "\nservice " in (ROOT / root / proto).read_text()
        arguments = [*_messages(root, target), *(_stubs(target) if has_service else ())]
        command = [sys.executable, "-m", "grpc_tools.protoc", *arguments, proto]
        subprocess.run(command, check=True)


def describe(output: Path) -> None:
    """Write greet.proto's descriptor for Envoy's JSON transcoder, which finds the HTTP side of a method in an option.

    The option is added here and does not stand in the proto: every program that greets would have to have its package.
    """
    target = output / TRANSCODED
    target.parent.mkdir(parents=True, exist_ok=True)
    proto = ["--proto_path=.", "--include_imports", f"--descriptor_set_out={target}", "greet/greet.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *proto], check=True, cwd=ROOT)
    found = FileDescriptorSet.FromString(target.read_bytes())
    (greet,) = found.file[0].service[0].method
    greet.options.Extensions[annotations_pb2.http].CopyFrom(HttpRule(post="/greet", body="greeting"))
    target.write_bytes(found.SerializeToString(deterministic=True))


def _messages(root: str, target: Path) -> list[str]:
    return [
        f"--proto_path={ROOT / root}",
        f"--python_out={target}",
        f"--plugin={PLUGINS / 'protoc-gen-mypy'}",
        f"--mypy_out=quiet:{target}",
    ]


def _stubs(target: Path) -> list[str]:
    """Return the stubs of a proto; none without a service, since they would hold only an import."""
    return [
        f"--grpc_python_out={target}",
        f"--plugin={PLUGINS / 'protoc-gen-mypy_grpc'}",
        f"--mypy_grpc_out=quiet:{target}",
    ]


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    generate(where)
    describe(where)

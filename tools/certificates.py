"""Certificates for tests and benchmarks, created with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority in its own folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir(parents=True)
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "ca.key")]
        # Python 3.13 verifies strictly (RFC 5280): a CA states its key usage, a certificate the key of its issuer.
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        _openssl(
            "req", "-x509", *key, *usage, "-days", "1", "-subj", f"/CN={folder.name}", "-out", str(folder / "ca.crt")
        )
        return cls(folder)

    @property
    def certificate(self) -> bytes:
        return (self.folder / "ca.crt").read_bytes()

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """Issue a certificate for a DNS name; returns chain and key."""
        key, request, issued = (str(self.folder / f"{name}.{end}") for end in ("key", "csr", "crt"))
        extension = self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName=DNS:{name}\nauthorityKeyIdentifier=keyid\n")
        signer = ["-CA", str(self.folder / "ca.crt"), "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial"]
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=of a test", "-out", request)
        _openssl("x509", "-req", "-in", request, *signer, "-days", "1", "-extfile", str(extension), "-out", issued)
        return Path(issued).read_bytes(), Path(key).read_bytes()


def write(folder: Path, chain: bytes, key: bytes, clients_ca: bytes | None = None) -> None:
    """Replace the files of ``folder`` atomically, by a symlink swap like kubelet's (AtomicWriter)."""
    version = len(list(folder.glob("..v*")))
    files = {"tls.crt": chain, "tls.key": key} | ({"ca.crt": clients_ca} if clients_ca else {})
    current = folder / f"..v{version}"
    current.mkdir(parents=True)
    for name, content in files.items():
        (current / name).write_bytes(content)
    draft = folder / "..draft"
    draft.symlink_to(current.name)
    draft.rename(folder / "..data")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (folder / name).unlink(missing_ok=True)
        if name in files:
            (folder / name).symlink_to(f"..data/{name}")


def _openssl(*args: str) -> None:
    program = shutil.which("openssl")
    assert program, "openssl is needed to create certificates: install it"
    subprocess.run([program, *args], check=True, capture_output=True)

"""The build cache: entries are named by a hash of their inputs, and appear complete or not at all."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DRAFT = ".draft-"


def digest(*parts: str | bytes) -> str:
    """Return a short hash of `parts`; their boundaries count, so ("ab", "c") differs from ("a", "bc")."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return whole.hexdigest()[:12]


def digest_files(root: Path, names: Iterable[str]) -> str:
    """Return a hash of the files `names` below `root`: names, executable bits and content."""
    parts: list[str | bytes] = []
    for name in sorted(set(names)):
        path = root / name
        if path.is_symlink():
            parts += [name, "link", os.readlink(path)]
        elif path.is_file():
            parts += [name, "x" if os.access(path, os.X_OK) else "-", path.read_bytes()]
    return digest(*parts)


def files_below(root: Path) -> list[str]:
    """Return the names of all files below `root`, relative to it."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink())


def draft_name(target: Path) -> Path:
    """Return the path at which this process builds `target`."""
    return target.with_name(f"{target.name}{_DRAFT}{os.getpid()}")


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to `target` if the block succeeds, delete it otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = draft_name(target)
    try:
        yield path
        path.rename(target)
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        # What a run that was killed had started may still be writing here for a moment: the rest goes the next time.
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def drafts(cache: Path) -> list[Path]:
    """Return the temporary paths that interrupted runs left in the cache."""
    return [path for folder in (cache, *_folders(cache)) for path in folder.glob(f"*{_DRAFT}*")]


def _folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()] if cache.is_dir() else []

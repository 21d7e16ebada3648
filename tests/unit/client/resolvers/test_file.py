"""Following a file, however it is replaced."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backendpool.client._resolvers.file import FileResolver
from backendpool.client._resolvers.resolver import OnView
from tests.fakes.logs import logged
from tests.fakes.objects import pool_view
from tests.unit.client.resolvers.following import Told, following

ONE, TWO = pool_view("192.0.2.1"), pool_view("192.0.2.1", "192.0.2.2")


def text_of(*addresses: str, **others: Any) -> str:
    return json.dumps({"endpoints": [f"{address}:50051" for address in addresses], **others})


ONE_TEXT, TWO_TEXT = text_of("192.0.2.1"), text_of("192.0.2.1", "192.0.2.2")


class Looks:
    """Replaces sleep, so that each read of the file is triggered by the test."""

    def __init__(self) -> None:
        self._wanted = asyncio.Semaphore(0)
        self._done = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self._done.release()
        await self._wanted.acquire()

    async def first(self) -> None:
        await self._done.acquire()

    async def another(self) -> None:
        self._wanted.release()
        await self._done.acquire()


@pytest.fixture
def looks() -> Looks:
    return Looks()


def source(path: Path, looks: Looks) -> Callable[[OnView], FileResolver]:
    return lambda on_view: FileResolver(path, on_view, sleep=looks.sleep)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def rename(path: Path, text: str) -> None:
    """Replace the file by a rename, as careful programs do."""
    beside = path.with_name("beside")
    beside.write_text(text)
    beside.rename(path)


def turn_link(path: Path, text: str) -> None:
    """Replace the file like the kubelet: it links into ``..data``, a symbolic link that is replaced."""
    folder = path.parent
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / path.name).write_text(text)
    (folder / "..turned").symlink_to(version.name)
    (folder / "..turned").rename(folder / "..data")
    if not path.is_symlink():
        path.symlink_to(Path("..data") / path.name)


def unseen(path: Path, text: str) -> None:
    """Change the file but keep its time, size and inode."""
    before = path.stat() if path.exists() else None
    path.write_text(text.ljust(1000))
    if before:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("replace", [write, rename, turn_link, unseen])
async def test_each_change_is_told_once(replace: Callable[[Path, str], None], tmp_path: Path, looks: Looks) -> None:
    """Each change is reported once, however the file is replaced."""
    path = tmp_path / "pool.json"
    replace(path, ONE_TEXT)
    async with following(source(path, looks)) as told:
        await looks.first()
        assert told.views == [ONE]
        for text, views in ((ONE_TEXT, [ONE]), (TWO_TEXT, [ONE, TWO]), (f" {TWO_TEXT}", [ONE, TWO])):
            replace(path, text)
            await looks.another()
            assert told.views == views


async def test_yaml_is_read_by_its_name(tmp_path: Path, looks: Looks) -> None:
    """A file named .yaml or .yml is read as YAML, any other as JSON."""
    path = tmp_path / "pool.yaml"
    path.write_text("# mine\nendpoints:\n  - 192.0.2.1:50051\n  - {address: 192.0.2.2, port: 50051}\n")
    async with following(source(path, looks)) as told:
        await looks.first()
        assert told.views == [TWO]


async def test_missing_file_at_the_start_means_no_pool(tmp_path: Path, looks: Looks) -> None:
    """A file that is missing at the start means no pool; it is followed once it exists."""
    path = tmp_path / "pool.json"
    async with following(source(path, looks)) as told:
        await looks.first()
        assert told.views == [None]
        assert str(told.source.problem) == f"{path}: cannot be read: No such file or directory"
        assert math.isinf(told.source.age())
        path.write_text(ONE_TEXT)
        await looks.another()
        assert told.views == [None, ONE]
        assert told.source.problem is None


async def test_broken_file_at_the_start_tells_nothing(tmp_path: Path, looks: Looks) -> None:
    """An invalid file at the start leaves the pool unknown."""
    path = tmp_path / "pool.json"
    path.write_text("{")
    async with following(source(path, looks)) as told:
        await looks.first()
        assert told.views == []
        assert told.source.problem is not None


async def _aged(told: Told, looks: Looks) -> bool:
    """Return whether another read leaves the age of the endpoints growing."""
    before = told.source.age()
    waited = 0.2
    await asyncio.sleep(waited)
    await looks.another()
    return told.source.age() > before + waited / 2


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), Path.unlink], ids=["broken", "gone"])
async def test_last_good_list_is_kept(
    spoil: Callable[[Path], object], tmp_path: Path, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    """If the file becomes invalid or missing, the last list is kept and ages, and the reason is logged once."""
    path = tmp_path / "pool.json"
    path.write_text(ONE_TEXT)
    async with following(source(path, looks)) as told:
        await looks.first()
        assert not await _aged(told, looks)
        spoil(path)
        assert await _aged(told, looks)
        assert await _aged(told, looks)
        assert told.views == [ONE]
        (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert warning in logged(caplog, "Reading the pool's file failed, retrying", file=path)
        assert str(told.source.problem) == f"{path}: {getattr(warning, 'error', '')}"
        path.write_text(ONE_TEXT)
        assert not await _aged(told, looks)
        assert told.views == [ONE]
        assert told.source.problem is None


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("pool.json", '{\n "endpoints": [\n  "192.0.2.1:1",,\n ]}', "line 3: Expecting value"),
        ("pool.json", b'{"endpoints":\n"\xff"}', "line 2: this is not UTF-8"),
        ("pool.yaml", "endpoints:\n  - a: [\n", "line 3: expected the node content, but found '<stream end>'"),
        ("pool.yaml", "a: 1\nb: \x01", "line 2: special characters are not allowed"),
        ("pool.json", "[]", "endpoints: give a map with this field, and in it a list of endpoints"),
        ("pool.json", '{"policy": "Random"}', "endpoints: give a map with this field"),
        (
            "pool.json",
            '{"endpoints": ["192.0.2.1:1", "192.0.2.2"]}',
            "endpoints[1]: invalid address '192.0.2.2': expected a port from 1 to 65535",
        ),
        ("pool.json", '{"endpoints": ["::1:1"]}', "endpoints[0]: invalid address '::1:1': expected IPv6 in brackets"),
        ("pool.json", '{"endpoints": ["localhost:1"]}', "endpoints[0].address: give an IP address, such as 127.0.0.1"),
        ("pool.json", '{"endpoints": [{"address": "::1"}]}', "endpoints[0].port: give the port"),
        ("pool.json", '{"endpoints": [{"address": "::1", "port": 0}]}', "endpoints[0].port: give a whole number"),
        ("pool.json", '{"endpoints": [{"adress": "::1"}]}', "endpoints[0].adress: this version knows address, port"),
        ("pool.json", '{"endpoints": [{"address": "::1", "port": 1, "zone": 1}]}', "endpoints[0].zone: give a string"),
        ("pool.json", text_of(policy="Fastest"), "policy: this version knows RoundRobin"),
        ("pool.json", text_of(polcy="Random"), "polcy: this version knows endpoints, policy"),
    ],
)
async def test_problem_says_where(name: str, text: str | bytes, why: str, tmp_path: Path, looks: Looks) -> None:
    """The error names the file, and the line or the field."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    async with following(source(path, looks)) as told:
        await looks.first()
        assert str(told.source.problem).startswith(f"{path}: {why}")

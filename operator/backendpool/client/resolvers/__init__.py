"""Where a client's endpoints come from: each source tells a pool as it is, and how old that is.

::

    source      what a source is
    pool        the pool's status, by watch
    lookaside   the pool's lookaside, by Watch
    file        a file, in the format that document describes
    iterator    the caller's own code
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import grpc

from backendpool.client.resolvers.file import FileSource
from backendpool.client.resolvers.iterator import IteratorSource, Views
from backendpool.client.resolvers.lookaside import LookasideSource
from backendpool.client.resolvers.resolver import OnView, Source
from backendpool.client.target import FileTarget, LookasideTarget, PoolTarget, parse_target
from backendpool.runtime.extras import extra, require

__all__ = ["OnView", "Source", "Views", "source_for"]


def source_for(
    target: str | Views, on_view: OnView, *, credentials: grpc.ChannelCredentials | None = None
) -> AbstractAsyncContextManager[Source]:
    """The source that ``target`` names (see :mod:`~backendpool.client.target`), for :meth:`Source.run` in its context.

    ``credentials`` are for a lookaside that serves over TLS. Raises :class:`~backendpool.errors.TargetError` for a
    target that names nothing, and :class:`~backendpool.errors.SettingsError` where what it needs is not installed, or,
    as the context is entered, where there is no cluster to be found.
    """
    if not isinstance(target, str):
        return nullcontext(IteratorSource(target, on_view))
    match parse_target(target):
        case PoolTarget(namespace, name):
            require("status", "aiohttp", "kubernetes", "yaml")
            return _status_of(namespace, name, on_view)
        case LookasideTarget() as lookaside:
            return nullcontext(LookasideSource(lookaside, on_view, credentials=credentials))
        case FileTarget(path):
            return nullcontext(FileSource(Path(path), on_view))


@asynccontextmanager
async def _status_of(namespace: str, name: str, on_view: OnView) -> AsyncIterator[Source]:
    # Its imports take hundreds of milliseconds: in the event loop, everything else in the process would wait for them.
    connected = await asyncio.to_thread(_importing)
    async with connected(namespace, name, on_view) as source:
        yield source


def _importing() -> Callable[[str, str, OnView], AbstractAsyncContextManager[Source]]:
    with extra("status"):
        from backendpool.client.resolvers import pool  # noqa: PLC0415  # the base install cannot
    return pool.connected

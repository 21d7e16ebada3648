"""Resolvers: follow a pool and report its endpoints and load balancing at each change.

::

    resolver    the protocol, and what all resolvers share
    pool        the pool's status, by watch
    lookaside   the pool's lookaside, by Watch
    file        a file, in the format of document
    iterator    the application's own code
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import grpc

from backendpool.client._resolvers.file import FileResolver
from backendpool.client._resolvers.iterator import IteratorResolver, Views
from backendpool.client._resolvers.lookaside import LookasideResolver
from backendpool.client._resolvers.resolver import OnView, Resolver
from backendpool.client._target import FileTarget, LookasideTarget, PoolTarget, parse_target
from backendpool.runtime.extras import extra, require

__all__ = ["OnView", "Resolver", "Views", "resolver_for"]


def resolver_for(
    target: str | Views, on_view: OnView, *, credentials: grpc.ChannelCredentials | None = None
) -> AbstractAsyncContextManager[Resolver]:
    """Return the resolver of ``target`` (see :mod:`~backendpool.client._target`); run it in its context.

    ``credentials`` are for a lookaside that serves TLS; None means plaintext. Raises
    :class:`~backendpool.errors.TargetError` for an invalid target, and :class:`~backendpool.errors.SettingsError` if an
    extra is not installed or, when the context is entered, if no cluster is configured.
    """
    if not isinstance(target, str):
        return nullcontext(IteratorResolver(target, on_view))
    match parse_target(target):
        case PoolTarget(namespace, name):
            require("status", "aiohttp", "kubernetes", "yaml")
            return _pool_resolver(namespace, name, on_view)
        case LookasideTarget() as lookaside:
            return nullcontext(LookasideResolver(lookaside, on_view, credentials=credentials))
        case FileTarget(path):
            return nullcontext(FileResolver(Path(path), on_view))


@asynccontextmanager
async def _pool_resolver(namespace: str, name: str, on_view: OnView) -> AsyncIterator[Resolver]:
    # The import takes hundreds of milliseconds, during which the event loop would be blocked.
    connect = await asyncio.to_thread(_import_pool_resolver)
    async with connect(namespace, name, on_view) as resolver:
        yield resolver


def _import_pool_resolver() -> Callable[[str, str, OnView], AbstractAsyncContextManager[Resolver]]:
    with extra("status"):
        from backendpool.client._resolvers import pool  # noqa: PLC0415  # the base install cannot
    return pool.connect

"""The callables of gRPC's four forms over a pool, with the arguments of grpc.aio's.

Each is a form and no more; the method (:mod:`method`) and the call (:mod:`call_forms`) do the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Generic, TypeVar

import grpc.aio
from grpc import CallCredentials, Compression
from grpc.aio import Metadata

from backendpool.client.call_forms import StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall
from backendpool.client.method import Metadatum, Method
from backendpool.client.requests import Requests

Request = TypeVar("Request")
Response = TypeVar("Response")

_Metadata = Metadata | Sequence[Metadatum]
_Stream = AsyncIterable[Request] | Iterable[Request]


class _OfMethod(Generic[Request, Response]):
    __slots__ = ("_method",)

    def __init__(self, method: Method) -> None:
        self._method = method


class UnaryUnary(_OfMethod[Request, Response], grpc.aio.UnaryUnaryMultiCallable[Request, Response]):
    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> UnaryUnaryCall[Request, Response]:
        return UnaryUnaryCall(self._method, request, timeout, (metadata, credentials, compression), wait_for_ready)


class UnaryStream(_OfMethod[Request, Response], grpc.aio.UnaryStreamMultiCallable[Request, Response]):
    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> UnaryStreamCall[Request, Response]:
        return UnaryStreamCall(self._method, request, timeout, (metadata, credentials, compression), wait_for_ready)


class StreamUnary(_OfMethod[Request, Response], grpc.aio.StreamUnaryMultiCallable[Request, Response]):
    def __call__(
        self,
        request_iterator: _Stream[Request] | None = None,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> StreamUnaryCall[Request, Response]:
        requests = Requests(request_iterator) if request_iterator is not None else None
        return StreamUnaryCall(self._method, requests, timeout, (metadata, credentials, compression), wait_for_ready)


class StreamStream(_OfMethod[Request, Response], grpc.aio.StreamStreamMultiCallable[Request, Response]):
    def __call__(
        self,
        request_iterator: _Stream[Request] | None = None,
        timeout: float | None = None,
        metadata: _Metadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> StreamStreamCall[Request, Response]:
        requests = Requests(request_iterator) if request_iterator is not None else None
        return StreamStreamCall(self._method, requests, timeout, (metadata, credentials, compression), wait_for_ready)

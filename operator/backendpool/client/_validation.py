"""Validation of the options of ``connect``: types, ranges, and combinations without an effect. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import grpc
from grpc.aio import (
    StreamStreamClientInterceptor,
    StreamUnaryClientInterceptor,
    UnaryStreamClientInterceptor,
    UnaryUnaryClientInterceptor,
)

from backendpool.api.load_balancing import OutlierDetection, Policy
from backendpool.client._policies.slow_start import SlowStart
from backendpool.errors import SettingsError

_METHOD: Final = re.compile(r"/[^/\s]+/[^/\s]+")
_INTERCEPTORS: Final = (
    UnaryUnaryClientInterceptor,
    UnaryStreamClientInterceptor,
    StreamUnaryClientInterceptor,
    StreamStreamClientInterceptor,
)
_RAMPING: Final = (Policy.ROUND_ROBIN, Policy.WEIGHTED_ROUND_ROBIN)


def check_options(options: Mapping[str, Any], *, lookaside: bool) -> None:
    """Raise :class:`SettingsError`, which names the option, for the first invalid one of ``options``.

    ``lookaside`` says whether the target is a lookaside.
    """
    for name, (is_valid, expected) in _RULES.items():
        if not is_valid(options[name]):
            raise SettingsError(f"invalid {name} {options[name]!r}: expected {expected}")
    for problem in (*_ranges(options), *_without_effect(options, lookaside)):
        raise SettingsError(problem)


def _ranges(options: Mapping[str, Any]) -> Iterator[str]:
    outliers, slow_start = options["outlier_detection"], options["slow_start"]
    if outliers is not None:
        yield from _out_of_range(outliers)
    if isinstance(slow_start, SlowStart):
        if not _is_amount(slow_start.window):
            yield f"invalid window {slow_start.window!r} of slow_start: expected 0 or more seconds"
        if not (_is_number(slow_start.aggression) and slow_start.aggression > 0):
            yield f"invalid aggression {slow_start.aggression!r} of slow_start: expected a number above 0"
        if not (_is_number(slow_start.least) and 0 < slow_start.least <= 1):
            yield f"invalid least {slow_start.least!r} of slow_start: expected a number above 0, at most 1"


def _out_of_range(group: Any) -> Iterator[str]:
    for each in fields(group):
        value = getattr(group, each.name)
        if "range" in each.metadata:
            low, high = each.metadata["range"]
            if not (_is_whole(value) and low <= value <= high):
                expected = f"a whole number from {low} to {high}"
                yield f"invalid {each.name} {value!r} of outlier_detection: expected {expected}"
        elif isinstance(value, each.metadata["kind"]):
            yield from _out_of_range(value)
        elif value is not None:
            yield f"invalid {each.name} {value!r} of outlier_detection: expected {each.metadata['kind'].__name__}"


def _without_effect(options: Mapping[str, Any], lookaside: bool) -> Iterator[str]:
    policy, slow_start = options["policy"], options["slow_start"]
    if options["prefer"] is not None and not options["zone"]:
        yield "prefer has no effect without zone: set the zone of this client"
    if policy == Policy.CONSISTENT_HASH and options["hash_key"] is None:
        yield "policy ConsistentHash needs hash_key: set a function that returns the key of a call"
    if options["hash_key"] is not None and policy not in (None, Policy.CONSISTENT_HASH):
        yield f"hash_key has no effect with policy {policy}: use ConsistentHash"
    if slow_start not in (0, SlowStart()) and policy is not None and policy not in _RAMPING:
        yield f"slow_start has no effect with policy {policy}: use RoundRobin or WeightedRoundRobin"
    if options["lookaside_credentials"] is not None and not lookaside:
        yield "lookaside_credentials has no effect: the target is not lookaside://"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_methods(value: object) -> bool:
    if isinstance(value, bool):
        return True
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
        return False
    return all(isinstance(method, str) and _METHOD.fullmatch(method) for method in value)


def _are_channel_options(value: object) -> bool:
    return _is_sequence(value) and all(
        isinstance(option, tuple | list) and len(option) == 2 and isinstance(option[0], str)
        for option in value  # type: ignore[attr-defined]
    )


def _are_interceptors(value: object) -> bool:
    return _is_sequence(value) and all(isinstance(one, _INTERCEPTORS) for one in value)  # type: ignore[attr-defined]


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _optional(*kinds: type) -> Callable[[object], bool]:
    return lambda value: value is None or isinstance(value, kinds)


_RULES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "hash_key": (lambda value: value is None or callable(value), "a function of method and metadata"),
    "outlier_detection": (_optional(OutlierDetection), "an OutlierDetection"),
    "zone": (lambda value: isinstance(value, str), "a name"),
    "subset": (lambda value: _is_whole(value) and value >= 0, "0 or more backends"),
    "slow_start": (lambda value: isinstance(value, SlowStart) or _is_amount(value), "0 or more seconds, or SlowStart"),
    "drain_timeout": (_is_amount, "0 or more seconds"),
    "idempotent": (_are_methods, "True, False, or a collection of names such as /package.Service/Method"),
    "service_config": (_optional(str), "a JSON string"),
    "interceptors": (_are_interceptors, "a sequence of client interceptors of grpc.aio"),
    "credentials": (_optional(grpc.ChannelCredentials), "channel credentials, such as grpc.ssl_channel_credentials()"),
    "options": (_are_channel_options, "a sequence of pairs of a name and a value"),
    "compression": (_optional(grpc.Compression), "a grpc.Compression"),
    "lookaside_credentials": (_optional(grpc.ChannelCredentials), "channel credentials"),
}
"""For each option: whether a value is valid, and what is expected. ``policy`` and ``prefer`` are enums."""

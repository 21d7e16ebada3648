"""Parsing of targets."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._target import FileTarget, LookasideTarget, PoolTarget, Target, parse_target
from backendpool.errors import TargetError

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
HOSTS = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z]{1,9}){0,3}", fullmatch=True)
ADDRESSES = st.ip_addresses().map(str)
# Names of files are bytes, of which Python makes a text, whatever they are.
NAMES = st.text(st.characters(codec="utf-8"), min_size=1).map(os.fsencode) | st.binary(min_size=1)
PATHS = NAMES.map(lambda name: PurePosixPath("/") / os.fsdecode(b"x" + name.replace(b"\0", b"")))
TARGETS = (
    st.builds(PoolTarget, LABELS | st.just(""), LABELS)
    | st.builds(LookasideTarget, HOSTS | ADDRESSES, st.integers(1, 65535), LABELS, LABELS)
    | st.builds(FileTarget, PATHS)
)


@given(TARGETS)
def test_a_target_is_its_line(target: Target) -> None:
    """Every target can be written as a URI and parsed back."""
    assert parse_target(str(target)) == target


@given(st.text() | st.builds(str.__add__, st.sampled_from(["pool://", "lookaside://", "file://"]), st.text("/:[]%a1.")))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    """Any text is either a target, whose URI parses to the same target, or raises TargetError."""
    try:
        target = parse_target(text)
    except TargetError:
        return
    assert parse_target(str(target)) == target


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_ipv6_hosts_stand_in_brackets(address: object, port: int) -> None:
    """IPv6 hosts are in brackets, and equal addresses give equal targets."""
    target = parse_target(f"lookaside://[{ip_address(str(address)).exploded}]:{port}/ns/who")
    assert target == LookasideTarget(str(address), port, "ns", "who")
    assert target.uri == f"dns:///[{address}]:{port}"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("pool:///shop/greetserver", PoolTarget("shop", "greetserver")),
        ("pool:///greetserver", PoolTarget("", "greetserver")),
        ("lookaside://lookaside.shop.svc/shop/who", LookasideTarget("lookaside.shop.svc", 50055, "shop", "who")),
        ("lookaside://10.0.0.1:7/shop/who", LookasideTarget("10.0.0.1", 7, "shop", "who")),
        ("lookaside://[::1]/shop/who", LookasideTarget("::1", 50055, "shop", "who")),
        ("file:///etc/my%20pool.yaml", FileTarget(PurePosixPath("/etc/my pool.yaml"))),
        ("file:///etc/my pool.yaml", FileTarget(PurePosixPath("/etc/my pool.yaml"))),
    ],
)
def test_targets_as_people_write_them(text: str, target: Target) -> None:
    """Ports and namespaces with a default may be omitted."""
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("greetserver", "expected pool:///namespace/name, lookaside://host:port/namespace/name or file:///path"),
        ("dns:///greetserver:50051", "expected pool:///namespace/name, lookaside://"),
        ("pool://shop/greetserver", "expected pool:///namespace/name with three slashes"),
        ("pool:///a/b/c", "expected pool:///namespace/name, or pool:///name"),
        ("pool:////greetserver", "expected pool:///namespace/name, or pool:///name"),
        ("pool:///Shop/who", "invalid namespace 'Shop': expected up to 63 lower-case letters, digits and hyphens"),
        ("pool:///shop/", "invalid name '': expected up to 63"),
        ("lookaside://host:50055/who", "expected lookaside://host:port/namespace/name"),
        ("lookaside:///shop/who", "invalid address '': expected host:port"),
        ("lookaside://host:0/shop/who", "invalid address 'host:0': expected a port from 1 to 65535"),
        ("lookaside://host:http/shop/who", "invalid address 'host:http': expected a port from 1 to 65535"),
        ("lookaside://::1/shop/who", "invalid address '::1': expected IPv6 in brackets"),
        ("lookaside://[zz::1]:1/shop/who", "invalid host 'zz::1': expected a DNS name or an IP address"),
        ("file://host/path", "expected file:///path with three slashes and an absolute path"),
        ("file:///", "expected file:///path"),
    ],
)
def test_refusals_say_what_to_write(text: str, advice: str) -> None:
    """Errors repeat the input, say what is expected, and are ValueErrors too."""
    with pytest.raises(ValueError, match="invalid target") as refused:
        parse_target(text)
    assert isinstance(refused.value, TargetError)
    assert str(refused.value).startswith(f"invalid target {text!r}: {advice}")

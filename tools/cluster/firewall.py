"""Removes the changes of a Docker engine to the host's packet filter.

Only Docker's own rules are removed; changes by others meanwhile are kept.
"""

import re
import shlex
from pathlib import Path

from tools.cluster import process

_TABLES = ("filter", "nat", "raw", "mangle")
_FORWARD_SWITCH = Path("/proc/sys/net/ipv4/ip_forward")
_OF_DOCKER = {"policy": "DROP", "forwarding": "1"}
_POLICY = re.compile(r"^:FORWARD (\w+)", re.MULTILINE)
_OURS = re.compile(r"\b(DOCKER[\w-]*|docker0|br-[0-9a-f]{12})\b|198\.18\.2(4\d|5\d)\.")


def save() -> dict[str, str]:
    """Return the state that an engine changes: the policy for forwarded packets, and IP forwarding."""
    forwarding = _FORWARD_SWITCH.read_text(encoding="utf-8").strip()
    return {"policy": forward_policy(_table("filter")), "forwarding": forwarding}


def restore(before: dict[str, str]) -> None:
    """Remove Docker's chains and rules, and restore what `save` recorded unless somebody else changed it since."""
    for table in _TABLES:
        for arguments in leftovers(_table(table)):
            process.try_answer(["iptables", "--wait", "-t", table, *arguments])
    back = to_set_back(before, save())
    if "policy" in back:
        process.try_answer(["iptables", "--wait", "-P", "FORWARD", back["policy"]])
    if "forwarding" in back:
        _FORWARD_SWITCH.write_text(back["forwarding"], encoding="utf-8")


def to_set_back(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Return the part of `before` to restore: what Docker changed and nobody else since."""
    return {name: value for name, value in before.items() if value != now[name] == _OF_DOCKER[name]}


def _table(name: str) -> str:
    return process.try_answer(["iptables-save", "-t", name]) or ""


def forward_policy(table: str) -> str:
    """Return the policy of the FORWARD chain in the output of `iptables-save -t filter`; the default of the kernel is
    ACCEPT.
    """
    found = _POLICY.search(table)
    return found[1] if found else "ACCEPT"


def leftovers(table: str) -> list[list[str]]:
    """Return iptables arguments that remove Docker's rules and chains from a table, given as `iptables-save` output."""
    lines = table.splitlines()
    rules = [line for line in lines if line.startswith("-A ") and _OURS.search(line)]
    chains = [line[1:].split()[0] for line in lines if line.startswith(":DOCKER")]
    deletions = [["-D", *shlex.split(rule.removeprefix("-A "))] for rule in rules]
    return deletions + [["-X", chain] for chain in chains]

"""Removing Docker's rules from the packet filter, and nothing else."""

import pytest

from tools.cluster.firewall import forward_policy, leftovers, to_set_back

NAT = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 198.18.240.0/24 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""


def test_dockers_rules_go_before_its_chains() -> None:
    """Rules are removed before chains, since only empty, unused chains can be deleted."""
    assert leftovers(NAT) == [
        ["-D", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER"],
        ["-D", "POSTROUTING", "-s", "198.18.240.0/24", "!", "-o", "docker0", "-j", "MASQUERADE"],
        ["-D", "DOCKER", "-i", "docker0", "-j", "RETURN"],
        ["-X", "DOCKER"],
    ]


def test_the_users_rules_stay() -> None:
    """Rules of others are kept."""
    assert not any("10.8.0.0/24" in arguments for arguments in leftovers(NAT))


def test_a_clean_table_has_no_leftovers() -> None:
    """A table without Docker's rules needs no change."""
    assert leftovers("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n") == []
    assert leftovers("") == []


def test_a_rule_is_named_as_it_was_written() -> None:
    """A quoted text of a rule is one argument."""
    rule = '-A FORWARD -i docker0 -m comment --comment "of the \\"old\\" engine" -j ACCEPT\n'
    (arguments,) = leftovers(rule)
    assert arguments[6:8] == ["--comment", 'of the "old" engine']


BEFORE = {"policy": "ACCEPT", "forwarding": "0"}


@pytest.mark.parametrize(
    ("now", "back"),
    [
        ({"policy": "DROP", "forwarding": "1"}, BEFORE),
        ({"policy": "ACCEPT", "forwarding": "1"}, {"forwarding": "0"}),
        (BEFORE, {}),
    ],
)
def test_only_what_docker_changed_is_set_back(now: dict[str, str], back: dict[str, str]) -> None:
    """Settings that somebody else changed meanwhile are kept."""
    assert to_set_back(BEFORE, now) == back


def test_what_was_as_docker_sets_it_stays() -> None:
    """A policy that somebody has opened since is not closed again."""
    assert to_set_back({"policy": "DROP", "forwarding": "1"}, {"policy": "ACCEPT", "forwarding": "0"}) == {}


def test_the_policy_of_forwarded_packets_is_read() -> None:
    """Without a filter table, the policy is ACCEPT."""
    assert forward_policy("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n") == "DROP"
    assert forward_policy("") == "ACCEPT"

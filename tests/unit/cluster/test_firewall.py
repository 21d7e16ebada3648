"""What Docker left in the packet filter is taken out, and nothing else."""

from tests.e2e.cluster.firewall import forward_policy, leftovers

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
    """A chain can be deleted only when nothing jumps to it and nothing is in it."""
    assert leftovers(NAT) == [
        ["-D", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER"],
        ["-D", "POSTROUTING", "-s", "198.18.240.0/24", "!", "-o", "docker0", "-j", "MASQUERADE"],
        ["-D", "DOCKER", "-i", "docker0", "-j", "RETURN"],
        ["-X", "DOCKER"],
    ]


def test_the_users_rules_stay() -> None:
    """A rule of somebody else's network is not ours."""
    assert not any("10.8.0.0/24" in arguments for arguments in leftovers(NAT))


def test_a_clean_table_has_no_leftovers() -> None:
    """Nothing is done where nothing is left."""
    assert leftovers("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n") == []
    assert leftovers("") == []


def test_the_policy_of_forwarded_packets_is_read() -> None:
    """A host whose filter was never used accepts, as the kernel does."""
    assert forward_policy("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n") == "DROP"
    assert forward_policy("") == "ACCEPT"

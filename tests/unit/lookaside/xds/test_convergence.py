"""Property: after any requests and changes, clients hold exactly the current resources that they subscribed to."""

from __future__ import annotations

from typing import Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.lookaside.xds.names import TYPES
from backendpool.lookaside.xds.snapshot import SnapshotCache
from tests.unit.lookaside.snapshots import snapshot_cache
from tests.unit.lookaside.xds.ads_clients import DeltaClient, Response, SotwClient

NAMES = st.frozensets(st.sampled_from(["greetserver", "greetserver.default", "greetserver:80", "nobody"]), min_size=1)
ADDRESSES = st.sets(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]))


class Client(Protocol):
    held: dict[str, dict[str, bytes]]

    def receive(self, cache: SnapshotCache) -> list[Response]: ...


class Convergence(RuleBasedStateMachine):
    """Two clients, one per protocol variant, with equal subscriptions."""

    def __init__(self) -> None:
        super().__init__()
        self.now = snapshot_cache()
        self.sotw, self.delta = SotwClient(), DeltaClient()
        self.wanted: dict[str, frozenset[str]] = {}

    @rule(addresses=ADDRESSES, policy=st.sampled_from(Policy))
    def change(self, addresses: set[str], policy: Policy) -> None:
        self.now = snapshot_cache(*addresses, balancing=LoadBalancing(policy))

    @rule(type_url=st.sampled_from(TYPES), names=NAMES)
    def want(self, type_url: str, names: frozenset[str]) -> None:
        before = self.wanted.get(type_url, frozenset())
        self.sotw.request(type_url, *names)
        self.delta.request(type_url, *(names - before), leave=tuple(before - names))
        self.wanted[type_url] = names

    @rule(type_url=st.sampled_from(TYPES), nack=st.booleans())
    def answer(self, type_url: str, nack: bool) -> None:
        error = "no" if nack else ""
        if type_url in self.sotw.last:
            self.sotw.request(type_url, *self.wanted[type_url], error=error)
        if type_url in self.delta.last:
            self.delta.request(type_url, error=error, ack=True)

    @rule()
    def receive(self) -> None:
        """Each client receives what it lacks, and then nothing more."""
        for client in (self.sotw, self.delta):
            self._check(client)

    def _check(self, client: Client) -> None:
        client.receive(self.now)
        assert client.receive(self.now) == []
        snapshot = self.now.snapshot("")
        for type_url, names in self.wanted.items():
            there = {name: found for name in names if (found := snapshot.resource(type_url, name))}
            held = {name: raw for name, raw in client.held[type_url].items() if name in names}
            assert held == {
                name: resource.message.SerializeToString(deterministic=True) for name, resource in there.items()
            }


Convergence.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestConvergence = Convergence.TestCase

"""Whatever a client asks, and whatever changes meanwhile, it ends with just what it wants, as it is now."""

from __future__ import annotations

from typing import Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.lookaside.xds.names import TYPES
from backendpool.lookaside.xds.snapshot import Publication
from tests.unit.lookaside.views import publication
from tests.unit.lookaside.xds.talk import Delta, Sotw, Told

NAMES = st.frozensets(st.sampled_from(["greetserver", "greetserver.default", "greetserver:80", "nobody"]), min_size=1)
ADDRESSES = st.sets(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]))


class Client(Protocol):
    held: dict[str, dict[str, bytes]]

    def told(self, publication: Publication) -> list[Told]: ...


class Conversing(RuleBasedStateMachine):
    """Two clients, one of each variant, that want the same and hold what they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = publication()
        self.sotw, self.delta = Sotw(), Delta()
        self.wanted: dict[str, frozenset[str]] = {}

    @rule(addresses=ADDRESSES, policy=st.sampled_from(Policy))
    def change(self, addresses: set[str], policy: Policy) -> None:
        self.now = publication(*addresses, balancing=LoadBalancing(policy))

    @rule(type_url=st.sampled_from(TYPES), names=NAMES)
    def want(self, type_url: str, names: frozenset[str]) -> None:
        before = self.wanted.get(type_url, frozenset())
        self.sotw.ask(type_url, *names)
        self.delta.ask(type_url, *(names - before), leave=tuple(before - names))
        self.wanted[type_url] = names

    @rule(type_url=st.sampled_from(TYPES), refused=st.booleans())
    def judge(self, type_url: str, refused: bool) -> None:
        problem = "no" if refused else ""
        if type_url in self.sotw.last:
            self.sotw.ask(type_url, *self.wanted[type_url], problem=problem)
        if type_url in self.delta.last:
            self.delta.ask(type_url, problem=problem, ack=True)

    @rule()
    def listen(self) -> None:
        """Each is told what it lacks, and then nothing more."""
        for client in (self.sotw, self.delta):
            self._listen(client)

    def _listen(self, client: Client) -> None:
        client.told(self.now)
        assert client.told(self.now) == []
        snapshot = self.now.snapshot("")
        for type_url, names in self.wanted.items():
            there = {name: found for name in names if (found := snapshot.find(type_url, name))}
            held = {name: raw for name, raw in client.held[type_url].items() if name in names}
            assert held == {name: found.message.SerializeToString(deterministic=True) for name, found in there.items()}


Conversing.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestConversing = Conversing.TestCase

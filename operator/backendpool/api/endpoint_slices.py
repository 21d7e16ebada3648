"""Endpoints that vanish are listed for a moment longer. Pure: the caller brings the timer.

The cluster moves endpoints between slices, each slice is a write of its own, and a watch may tell that an endpoint
left one before it tells that it joined another. A pod that goes is unready, or terminates, before it leaves; an
endpoint that was Ready and whose address no slice names any more is more likely on its way than gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from backendpool.api.endpoints import EndpointState, Slice

SETTLE_SECONDS: Final = 0.05

Later = Callable[[float, Callable[[], None]], object]
"""Calls back after so many seconds, as an event loop's ``call_later`` does."""


class SettledSlices:
    """The slices of one Service, and for :data:`SETTLE_SECONDS` what vanished from them.

    ``changed`` is called after each change of what one of them lists. One that moves is listed all the time.
    """

    def __init__(self, changed: Callable[[], None], later: Later) -> None:
        self._changed = changed
        self._later = later
        self._slices: dict[str, Slice] = {}
        self._vanished: dict[object, Slice] = {}

    def __iter__(self) -> Iterator[Slice]:
        return iter((*self._slices.values(), *self._vanished.values()))

    def __len__(self) -> int:
        return len(self._slices) + len(self._vanished)

    def put(self, name: str, new: Slice | None) -> None:
        """The slice ``name`` came or changed; None where it went."""
        old = self._slices.pop(name, None)
        before = _content([old, *self._vanished.values()])
        if new is not None:
            self._slices[name] = new
            self._let_go(frozenset(new.addresses()))
        if old is not None:
            self._keep(old)
        if _content([new, *self._vanished.values()]) != before:
            self._changed()

    def _keep(self, old: Slice) -> None:
        """Go on listing what was Ready in ``old`` and is named nowhere any more."""
        gone = {endpoint.address for endpoint in old.endpoints if endpoint.state is EndpointState.READY}
        for one in reversed(self._slices.values()):  # the one that took the place of ``old`` has nearly all of them
            gone.difference_update(one.addresses())
            if not gone:
                break
        if gone:
            loss = object()
            self._vanished[loss] = replace(old, endpoints=tuple(e for e in old.endpoints if e.address in gone))
            self._later(SETTLE_SECONDS, partial(self._forget, loss))

    def _let_go(self, named: frozenset[str]) -> None:
        """A slice names these addresses: what it says of them counts, be it that they are not to be listed."""
        for loss, vanished in tuple(self._vanished.items()):
            left = tuple(endpoint for endpoint in vanished.endpoints if endpoint.address not in named)
            if left:
                self._vanished[loss] = replace(vanished, endpoints=left)
            else:
                del self._vanished[loss]

    def _forget(self, loss: object) -> None:
        if self._vanished.pop(loss, None) is not None:
            self._changed()


def _content(slices: Iterable[Slice | None]) -> frozenset[tuple[str, str, object]]:
    """What is listed, and of which family, Service and age there is a slice at all, be it an empty one."""
    return frozenset(
        (one.family, one.owner_uid, told) for one in slices if one is not None for told in (one.created, *one.endpoints)
    )

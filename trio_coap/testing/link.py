"""What lies between two hosts: how long datagrams take, and which of them get lost.

Rule: a link decides with the random generator that it is given, and draws the same numbers whatever its properties, so
that changing one of them leaves the fates that depend on the others as they were.
"""

from __future__ import annotations

import random
from typing import TypedDict, final

import attrs

from trio_coap.wire.errors import LocalProtocolError


@final
@attrs.frozen(kw_only=True)
class Link:
    """The properties of a link, in one direction.

    Raises:
      LocalProtocolError: if a value is out of its range.
    """

    latency: float = 0.001
    """How long a datagram takes, in seconds.  With 0, what several tasks send at the same instant arrives in the
    order in which Trio happens to run them; with anything more it is the same in every run."""

    jitter: float = 0.0
    """How much longer it takes at most, in seconds, evenly distributed.  Jitter alone changes no order."""

    loss: float = 0.0
    """The share of datagrams that are lost, 0 to 1."""

    duplication: float = 0.0
    """The share of datagrams that arrive twice, 0 to 1."""

    reordering: float = 0.0
    """The share of datagrams that are held back, so that later ones overtake them, 0 to 1."""

    reordering_delay: float = 0.1
    """How long they are held back at most, in seconds, evenly distributed."""

    mtu: int | None = None
    """The octets of the largest datagram that fits, the headers of IP and UDP not counted; None for any size."""

    bandwidth: float | None = None
    """How much passes, in octets per second; None for no limit.  What does not fit waits, without a limit."""

    def __attrs_post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise LocalProtocolError(f"{name} is a share from 0 to 1, not {share}")
        for name in ("latency", "jitter", "reordering_delay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise LocalProtocolError(f"{name} is 0 seconds or more, not {getattr(self, name)}")
        for name in ("mtu", "bandwidth"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise LocalProtocolError(f"{name} is above 0, or None, not {value}")

    @property
    def is_random(self) -> bool:
        """Whether anything is left to chance."""
        return bool(self.loss or self.jitter or self.duplication or self.reordering)

    def draw(self, rng: random.Random) -> tuple[Transit, ...]:
        """Return how the copies of one datagram travel: none if it is lost, two if it is duplicated."""
        is_lost = rng.random() < self.loss
        is_doubled = rng.random() < self.duplication
        first, second = self._draw_transit(rng), self._draw_transit(rng)
        if is_lost:
            return ()
        return (first, second) if is_doubled else (first,)

    def _draw_transit(self, rng: random.Random) -> Transit:
        delay = self.latency + rng.random() * self.jitter
        is_held_back = rng.random() < self.reordering
        held_back = rng.random() * self.reordering_delay
        return Transit(delay + held_back, False) if is_held_back else Transit(delay)


@final
@attrs.frozen
class Transit:
    """How one copy of a datagram travels."""

    delay: float
    """How long it takes, in seconds."""

    keeps_order: bool = True
    """Whether it stays behind what was sent before it."""


class LinkProperties(TypedDict, total=False):
    """The properties of a :class:`Link`, as keywords."""

    latency: float
    jitter: float
    loss: float
    duplication: float
    reordering: float
    reordering_delay: float
    mtu: int | None
    bandwidth: float | None

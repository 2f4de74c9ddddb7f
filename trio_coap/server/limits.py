"""How much a server does at a time, and how much of block-wise transfers it remembers (:rfc:`7959` section 7)."""

from __future__ import annotations

import attrs

from trio_coap.server.ledger import LedgerLimits
from trio_coap.wire.block import Block
from trio_coap.wire.errors import LocalProtocolError

MIB = 1024 * 1024

MAX_RUNNING_HANDLERS = 1000
"""Handler tasks at a time: each holds memory, and a remote can start them; more wait at their clients (5.03)."""

MAX_RUNNING_HANDLERS_PER_REMOTE = 250
"""Handler tasks at a time for one remote endpoint: a quarter of those for all, so that one cannot lock out the others."""

MAX_OBSERVERS = 10_000
"""Observers at a time: each holds a few kilobytes, and a change makes the handler run once for each of them."""

MAX_OBSERVERS_PER_REMOTE = 100
"""Observers of one remote endpoint: so that a single one cannot use up the places of all others."""


@attrs.frozen
class ServerLimits:
    """How many handlers and observers a server has at a time."""

    max_running_handlers: int = MAX_RUNNING_HANDLERS
    """Tasks of ``async def`` handlers; above it 5.03 with Max-Age."""

    max_running_handlers_per_remote: int = MAX_RUNNING_HANDLERS_PER_REMOTE
    """Those of one remote endpoint; likewise."""

    max_observers: int = MAX_OBSERVERS
    """Observers; above it a registration gets a response without Observe."""

    max_observers_per_remote: int = MAX_OBSERVERS_PER_REMOTE
    """Those of one remote endpoint; likewise."""


DEFAULT_SERVER_LIMITS = ServerLimits()


@attrs.frozen
class BlockLimits:
    """How large bodies may be, and how many of them a server remembers; whatever a remote can make grow has its limit.

    The numbers of bodies and their octets count for request bodies that are not complete, and likewise, but apart, for
    those that a handler reads as they come (two blocks of each are held), and for response bodies that are not fetched
    to their end.  What a limit turns away is counted by its name; see :class:`EndpointStatistics`.

    Raises:
      LocalProtocolError: if a limit is below 1, or there are no blocks of *max_block_size*.
    """

    max_body: int = 4 * MIB
    """Octets of a request body, unless the resource says otherwise; above it 4.13.  A firmware image fits."""

    max_block_size: int = 1024
    """Octets of a block: what the server asks for, and gives; 16, 32, ... 1024."""

    max_bodies_per_remote: int = 16
    """So many resources does one client reasonably read or write at a time; above it 5.03."""

    max_octets_per_remote: int = 16 * MIB
    """A few bodies of the largest size; above it 5.03.  A resource that takes larger bodies needs a larger limit here."""

    max_bodies: int = 1000
    """Of all remotes together: an address is cheap to forge, so that the limit for each does not bound their sum."""

    max_octets: int = 64 * MIB
    """Likewise: memory that a server can spare, even a small one."""

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(BlockLimits):
            value = getattr(self, field.name)
            if value < 1:
                raise LocalProtocolError(f"{field.name} is at least 1, not {value}")
        Block.of(0, False, self.max_block_size)

    def for_one_table(self, times: int = 1) -> LedgerLimits:
        """Return the limits of one table, or *times* as much."""
        limits = (self.max_bodies_per_remote, self.max_octets_per_remote, self.max_bodies, self.max_octets)
        return LedgerLimits(*[times * limit for limit in limits])


DEFAULT_BLOCK_LIMITS = BlockLimits()

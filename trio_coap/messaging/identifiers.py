"""Message IDs towards groups and towards everybody else (:rfc:`7252` section 4.4).

To the members of a group, a group request and a message of their own come from the same endpoint, and nobody knows who the
members are.  So no message to a group has an ID in common with any other message that is remembered, whomever that went to.

Rule 1: a message to a group takes the next ID that is free towards everybody.  A table says which ones are: it counts the
entries of all caches of sent messages by their IDs.  Rule 2: the table is there from the first message to a group on, which
makes it by one look at all caches, until nothing is known of any group; an endpoint that speaks to no group has none, and
pays for none.  While it is there, each entry that gets an ID or ends is counted.  Rule 3: a message to one remote endpoint
takes the next ID that is neither in the cache for that one nor in those for groups, which are few.  Rule 4: an ID that the
application chose is counted like any other, but is no concern of these rules: it need only be free in its own cache.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, final

from trio_coap.messaging.remote import MESSAGE_IDS

if TYPE_CHECKING:
    from trio_coap.messaging.remote import RemoteEndpointState


@final
class IdentifierTable:
    """How many entries have each message ID, whomever their messages went to: 0.3 MB."""

    __slots__ = ("_counts", "_is_taken")

    def __init__(self, states: Iterable[RemoteEndpointState]) -> None:
        """Count the entries of *states*."""
        self._counts = array("I", bytes(MESSAGE_IDS * array("I").itemsize))
        # One octet for each ID, because an octet is found at the speed of the memory.
        self._is_taken = bytearray(MESSAGE_IDS)
        for state in states:
            for message_id in state.sent_cache.by_id:
                self.enter(message_id)

    def enter(self, message_id: int) -> None:
        """Count an entry that has got its ID."""
        self._counts[message_id] += 1
        self._is_taken[message_id] = 1

    def leave(self, message_id: int) -> None:
        """Count an entry with an ID as gone."""
        self._counts[message_id] = left = self._counts[message_id] - 1
        if not left:
            self._is_taken[message_id] = 0

    def next_free(self, first: int) -> int | None:
        """Return the first ID that no entry has, from *first* on and then from 0; None if there is none."""
        found = self._is_taken.find(0, first)
        if found < 0:
            found = self._is_taken.find(0)
        return None if found < 0 else found

    def counts(self) -> dict[int, int]:
        """Return how many entries have each ID that any has."""
        return {message_id: count for message_id, count in enumerate(self._counts) if count}


@final
class Groups:
    """What a local endpoint knows of groups.

    Attributes:
      states: the state of each group; there are few.
      table: the message IDs towards everybody; None before the first message to a group, and when no state is left.
    """

    __slots__ = ("states", "table")

    states: list[RemoteEndpointState]
    table: IdentifierTable | None

    def __init__(self) -> None:
        """Know none."""
        self.clear()

    def add(self, state: RemoteEndpointState) -> None:
        """Take in the state of a group."""
        self.states.append(state)

    def discard(self, state: RemoteEndpointState) -> None:
        """Forget a group, if *state* is that of one."""
        if state in self.states:
            self.states.remove(state)
            if not self.states:
                self.table = None

    def clear(self) -> None:
        """Forget all."""
        self.states = []
        self.table = None

    def next_free(self, first: int, remote: RemoteEndpointState) -> int | None:
        """Return the first ID for a message to *remote* that is free, from *first* on and then from 0; None if none is."""
        if remote.endpoint.is_multicast:
            if self.table is None:
                self.table = IdentifierTable(remote.local.states())
            return self.table.next_free(first)
        caches = [remote.sent_cache.by_id, *(state.sent_cache.by_id for state in self.states)]
        for offset in range(MESSAGE_IDS):
            message_id = (first + offset) % MESSAGE_IDS
            if not any(message_id in by_id for by_id in caches):
                return message_id
        return None

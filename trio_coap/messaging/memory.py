"""How many received messages are remembered, and which are forgotten early (:rfc:`7252` section 4.5).

Rule 1: what may be executed twice without harm may be forgotten, the oldest first; everything else stays until it
expires.  Rule 2: at a limit, a remote endpoint with more than its fair share forgets its own messages, and leaves a part
of the memory to the others.  Rule 3: every operation costs O(1), spread over those before it.  Rule 4: an entry costs
one place in one deque, and a second one only if its remote has too much.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from trio_coap.messaging.local import LocalEndpoint
    from trio_coap.messaging.received import RcvdMessageCacheEntry
    from trio_coap.messaging.remote import RemoteEndpointState

RESERVED_SHARE = 16
"""One part in so many is kept for those who would otherwise be crowded out: of the memory, for remotes that have little
in it; of sent messages and message IDs, for Confirmable messages and requests of our own."""

MAX_FORGOTTEN = 16
"""Entries to forget at most for one datagram: a flood must not make each of its datagrams expensive."""


_MIN_COMPACTION = 64
"""Below so many entries that have been removed, going through all is not worth it."""


@final
class Memory:
    """The entries of all received messages that may be forgotten."""

    __slots__ = ("_ample_messages", "_ample_octets", "_counters", "_forgettable", "_local")

    def __init__(self, local: LocalEndpoint) -> None:
        """Remember for *local*."""
        self._local = local
        self._counters = local.counters
        limits = local.limits
        self._ample_messages = limits.max_remembered - limits.max_remembered // RESERVED_SHARE
        self._ample_octets = limits.max_remembered_octets - limits.max_remembered_octets // RESERVED_SHARE
        self._forgettable: deque[RcvdMessageCacheEntry] = deque()

    def __len__(self) -> int:
        return sum([entry.cache is not None for entry in self._forgettable])

    def may_forget(self, entry: RcvdMessageCacheEntry) -> None:
        """Note that *entry* may be forgotten from now on."""
        self._forgettable.append(entry)
        of_remote = entry.remote.forgettable
        if of_remote is not None:
            of_remote.append(entry)

    def removed(self, entry: RcvdMessageCacheEntry) -> None:
        """Note that *entry* has been removed from its cache."""
        _drop_removed(self._forgettable, entry, self._local.counters.received)
        state = entry.remote
        if state.forgettable is not None:
            messages = len(state.rcvd_cache)
            _drop_removed(state.forgettable, entry, messages)
            if messages < _MIN_COMPACTION:  # So few are soon collected again.
                state.forgettable = None

    @property
    def has_ample_room(self) -> bool:
        """Whether there is room for everybody, and no share to be computed: nearly always."""
        counters = self._counters
        return counters.received < self._ample_messages and counters.received_octets < self._ample_octets

    def make_room(self, state: RemoteEndpointState | None) -> bool:
        """Make room for one more message of a remote endpoint, or say that there is none.

        Args:
          state: what is known of it, or None.
        """
        counters = self._local.counters
        if state is None and not self._make_room_for_remote():
            return False
        for _ in range(MAX_FORGOTTEN):
            limit = self._limit_reached(state)
            if limit is None:
                return True
            counters.turned_away[limit] += 1
            entries = self._forgettable
            if state is not None and self._has_too_much(state):
                entries = self._forgettable_of(state)
            if not self._forget_first(entries):
                break
        # Not executing a request now is safe; its sender will repeat it.
        return self._limit_reached(state) is None

    def _make_room_for_remote(self) -> bool:
        local = self._local
        for _ in range(MAX_FORGOTTEN):
            if local.has_room_for_remote():
                return True
            local.counters.turned_away["max_remotes"] += 1
            if not self._forget_first(self._forgettable):
                return False
        return local.has_room_for_remote()

    def _limit_reached(self, state: RemoteEndpointState | None) -> str | None:
        limits, counters = self._local.limits, self._local.counters
        messages, octets = limits.max_remembered, limits.max_remembered_octets
        if state is not None and self._has_too_much(state):
            messages, octets = self._ample_messages, self._ample_octets
        if counters.received >= messages:
            return "max_remembered"
        return "max_remembered_octets" if counters.received_octets >= octets else None

    def _has_too_much(self, state: RemoteEndpointState) -> bool:
        """Return whether a remote has its share or more, if one more remote were to come."""
        limits = self._local.limits
        shares = self._local.remotes + 1
        return (
            len(state.rcvd_cache) * shares >= limits.max_remembered
            or state.received_octets * shares >= limits.max_remembered_octets
        )

    def _forgettable_of(self, state: RemoteEndpointState) -> deque[RcvdMessageCacheEntry]:
        if state.forgettable is None:
            # An entry without a time is just being passed on, and is noted after that.
            entries = state.rcvd_cache.values()
            state.forgettable = deque(
                [entry for entry in entries if entry.is_forgettable and entry.queue_time is not None]
            )
        return state.forgettable

    def _forget_first(self, entries: deque[RcvdMessageCacheEntry]) -> bool:
        while entries and entries[0].cache is None:
            entries.popleft()
        if not entries:
            return False
        entry = entries[0]
        if entry.owes_acknowledgement:
            entry.reply()
        entry.remote.forget_received(entry)
        return True


def _drop_removed(entries: deque[RcvdMessageCacheEntry], removed: RcvdMessageCacheEntry, live: int) -> None:
    """Drop an entry that has been removed, now if it is the first one, or else when most of *entries* are such.

    Args:
      entries: they may be forgotten, unless they have been removed.
      removed: the entry.
      live: how many of them have not been removed, at most.
    """
    if entries and entries[0] is removed:
        entries.popleft()
        while entries and entries[0].cache is None:
            entries.popleft()
    elif len(entries) > 2 * live + _MIN_COMPACTION:
        left = [entry for entry in entries if entry.cache is not None]
        entries.clear()
        entries.extend(left)

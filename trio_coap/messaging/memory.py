"""How many received messages are remembered, and which are forgotten early (:rfc:`7252` section 4.5).

Rule 1: what may be executed twice without harm may be forgotten, the oldest first; everything else stays until it
expires.  Rule 2: at a limit, a remote endpoint with more than its fair share forgets its own messages, and leaves a part
of the memory to the others.  Rule 3: every operation costs O(1), spread over those before it.  Rule 4: a message costs
one place in one order, and a second one only if its remote has too much, or became harmless late.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from trio_coap.messaging.expiry import MESSAGE_ID_BITS, Candidate, ExpiryOrder

if TYPE_CHECKING:
    from trio_coap.messaging.local import LocalEndpoint
    from trio_coap.messaging.received import RcvdMessageCacheEntry
    from trio_coap.messaging.receivedcache import ReceivedCache
    from trio_coap.messaging.remote import RemoteEndpointState

RESERVED_SHARE = 16
"""One part in so many is kept for those who would otherwise be crowded out: of the memory, for remotes that have little
in it; of sent messages and message IDs, for Confirmable messages and requests of our own."""

MAX_FORGOTTEN = 16
"""Messages to forget at most for one datagram: a flood must not make each of its datagrams expensive."""

_LARGE = 4096
"""For so many that may be remembered one is forgotten at once, and room made for the next ones, too."""

_FEW = 64
"""A remote endpoint that has no more messages than so many need not know any longer which are its oldest."""


@final
class Memory:
    """The order in which received messages expire, or are forgotten before; part of the queue, for all that is kept."""

    __slots__ = (
        "_ample_messages",
        "_ample_octets",
        "_at_once",
        "_caches",
        "_confirmable",
        "_counters",
        "_identities",
        "_late",
        "_local",
        "_non_confirmable",
    )

    def __init__(self, local: LocalEndpoint) -> None:
        """Remember for *local*."""
        self._local = local
        self._counters = local.counters
        limits = local.limits
        self._ample_messages = limits.max_remembered - limits.max_remembered // RESERVED_SHARE
        self._ample_octets = limits.max_remembered_octets - limits.max_remembered_octets // RESERVED_SHARE
        self._at_once = min(max(limits.max_remembered // _LARGE, 1), MAX_FORGOTTEN)
        self._caches: dict[int, ReceivedCache] = {}
        self._identities = itertools.count(1)
        parameters = local.parameters
        self._confirmable = ExpiryOrder(self._caches.get, parameters.exchange_lifetime)
        self._non_confirmable = ExpiryOrder(self._caches.get, parameters.non_lifetime)
        # What was found harmless only by its reply, after it had got its place.
        self._late = ExpiryOrder(self._caches.get)
        local.queue.attach(self)

    # What comes in and goes out.

    def enter(self, entry: RcvdMessageCacheEntry, state: RemoteEndpointState, now: float) -> None:
        """Give *entry*, which has been passed on, its place in the order, and see to it that something is done next."""
        queue, cache = self._local.queue, state.rcvd_cache
        if not cache.identity:
            cache.identity = next(self._identities) << MESSAGE_ID_BITS
            self._caches[cache.identity >> MESSAGE_ID_BITS] = cache
        assert entry.message_id is not None
        key = cache.identity | entry.message_id
        kind = self._confirmable if entry.is_confirmable else self._non_confirmable
        if kind.append(key, now):
            queue.notice(now + kind.lifetime)
        if state.forgettable is not None:
            state.forgettable.append(entry.message_id, now)
        if entry.reply_octets and not entry.is_multicast:  # Nearly always: the others have more to be asked.
            cache.keep(entry, entry._datagram, entry.reply_octets)
        elif entry.owes_acknowledgement:
            queue.append(entry, now + self._local.parameters.empty_ack_delay)
        elif entry.respond_at is not None:
            queue.push(entry, entry.respond_at)
        else:
            entry.keep()

    def may_be_forgotten_after_all(self, entry: RcvdMessageCacheEntry) -> None:
        """Note that an entry, which has its place, is harmless because of what it was answered."""
        assert entry.message_id is not None
        state = entry.remote
        self._late.earliest()  # Drops what is gone.
        self._late.append(state.rcvd_cache.identity | entry.message_id, entry.created_at)
        if state.forgettable is not None:
            state.forgettable.append(entry.message_id, entry.created_at)

    def message_removed(self, cache: ReceivedCache, message_id: int, is_confirmable: bool) -> None:
        """Learn that a message has been removed out of turn."""
        key, live = cache.identity | message_id, self._counters.received
        (self._confirmable if is_confirmable else self._non_confirmable).message_removed(key, live)
        if self._late:
            self._late.message_removed(key, live)
        self._forget_place(cache, message_id)

    def _forget_place(self, cache: ReceivedCache, message_id: int) -> None:
        """Let the order of the remote itself, if it has one, learn that a message has been removed."""
        state = cache.state
        if state.forgettable is None:
            return
        live = len(cache.kept) + len(cache.by_id)
        if live < _FEW:  # So few are soon collected again.
            state.forgettable = None
        else:
            state.forgettable.message_removed(message_id, live)

    def leave(self, cache: ReceivedCache) -> None:
        """Forget a cache, in which nothing is left."""
        if cache.identity:
            del self._caches[cache.identity >> MESSAGE_ID_BITS]
            cache.identity = 0

    def forget_expired(self, now: float, limit: int) -> int:
        """Forget messages whose lifetime is over, and return at how many places that was found out: at most *limit*."""
        forgotten = 0
        for order in (self._confirmable, self._non_confirmable):
            while forgotten < limit and order.is_due(now):
                forgotten += 1
                first = order.pop()
                if first is not None:
                    self._expire(*first, order, now)
        return forgotten

    def _expire(self, cache: ReceivedCache, message_id: int, order: ExpiryOrder, now: float) -> None:
        if order is self._non_confirmable:
            if cache.is_confirmable(message_id):
                return  # The ID came again at the very time of the NON, which was forgotten early.
            if cache.awaits_leisure(message_id):
                # The answer to a group request may wait for longer than a short NON_LIFETIME: nobody else remembers it.
                order.append(cache.identity | message_id, now)
                return
        cache.forget(message_id)
        self._forget_place(cache, message_id)

    # What the queue asks.

    def __len__(self) -> int:
        return sum([len(cache.kept) for cache in self._caches.values()])

    def __iter__(self) -> Iterator[tuple[float, RcvdMessageCacheEntry]]:
        for cache in self._caches.values():
            for entry in cache.values():
                if entry.is_kept and entry.time_due is not None:
                    yield entry.time_due, entry

    def earliest(self) -> float:
        """Return when the first message expires, or an earlier time, in seconds; infinity if there is none."""
        return min(self._confirmable.earliest(), self._non_confirmable.earliest())

    def first(self) -> tuple[float, RcvdMessageCacheEntry] | None:
        """Return when the first message expires, in seconds, and its entry; None if there is none."""
        found = None
        for order in (self._confirmable, self._non_confirmable):
            first = order.first()
            if first is not None and (found is None or first[2] + order.lifetime < found[0]):
                found = first[2] + order.lifetime, first[0][first[1]]
        return found

    def clear(self) -> None:
        """Drop the order, of messages that are about to be removed."""
        for order in (self._confirmable, self._non_confirmable, self._late):
            order.clear()

    # What is forgotten early.

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
        if state is None and not self._make_room_for_remote():
            return False
        forgotten = 0
        while forgotten < MAX_FORGOTTEN:
            crowding = state if state is not None and self._has_too_much(state) else None
            limit = self._limit_reached(crowding is not None)
            if limit is None:
                if not forgotten:
                    self._look_ahead()
                return True
            number = self._forget_some(crowding, limit)
            if not number:
                break
            forgotten += number
            if self.has_ample_room:
                return True
        # Not executing a request now is safe; its sender will repeat it.
        return self._limit_reached(state is not None and self._has_too_much(state)) is None

    def _look_ahead(self) -> None:
        """Look for what may be forgotten as long as there is room: who comes when there is none does not wait for that."""
        for order in (self._confirmable, self._non_confirmable):
            if not order.has_candidate:
                order.candidate()

    def _forget_some(self, state: RemoteEndpointState | None, limit: str) -> int:
        """Forget the oldest messages of a remote, or of all, because of a limit; return how many."""
        # Of those that are large, one may make room enough.
        at_once = 1 if limit == "max_remembered_octets" else self._at_once
        for forgotten in range(at_once):
            self._counters.turned_away[limit] += 1
            if not (self._forget_first() if state is None else self._forget_first_of(state)):
                return forgotten
        return at_once

    def _make_room_for_remote(self) -> bool:
        local = self._local
        for _ in range(MAX_FORGOTTEN):
            if local.has_room_for_remote():
                return True
            local.counters.turned_away["max_remotes"] += 1
            if not self._forget_first():
                return False
        return local.has_room_for_remote()

    def _limit_reached(self, has_too_much: bool) -> str | None:
        limits, counters = self._local.limits, self._counters
        messages, octets = limits.max_remembered, limits.max_remembered_octets
        if has_too_much:
            messages, octets = self._ample_messages, self._ample_octets
        if counters.received >= messages:
            return "max_remembered"
        return "max_remembered_octets" if counters.received_octets >= octets else None

    def _has_too_much(self, state: RemoteEndpointState) -> bool:
        """Return whether a remote has its share or more, if one more remote were to come."""
        limits = self._local.limits
        shares = self._local.remotes + 1
        cache = state.rcvd_cache
        messages = len(cache.kept) + len(cache.by_id)
        return (
            messages * shares >= limits.max_remembered or state.received_octets * shares >= limits.max_remembered_octets
        )

    def _forget_first_of(self, state: RemoteEndpointState) -> bool:
        """Forget the oldest message of a remote that may be forgotten; False if there is none."""
        order = state.forgettable
        if order is None:
            order = state.forgettable = self._order_of(state.rcvd_cache)
        return self._forget(order.candidate())

    def _order_of(self, cache: ReceivedCache) -> ExpiryOrder:
        # When each one came is not looked up: nobody should wait for 65,536 records, and that they have come is enough.
        order = ExpiryOrder({0: cache}.get)
        order.fill(cache.kept, max(self._confirmable.latest, self._non_confirmable.latest))
        for message_id, entry in cache.by_id.items():
            if entry.time_due is not None:  # Otherwise it is just being passed on, and gets its place after that.
                order.append(message_id, entry.created_at)
        return order

    def _forget_first(self) -> bool:
        """Forget the oldest message of all that may be forgotten; False if there is none."""
        candidates = [order.candidate() for order in (self._confirmable, self._non_confirmable, self._late)]
        self._confirmable.has_candidate = self._non_confirmable.has_candidate = False
        return self._forget(min(filter(None, candidates), key=_creation, default=None))

    def _forget(self, candidate: Candidate | None) -> bool:
        if candidate is None:
            return False
        cache, message_id, _ = candidate
        self.message_removed(cache, message_id, cache.forget(message_id))
        return True


def _creation(candidate: Candidate) -> float:
    return candidate[2]

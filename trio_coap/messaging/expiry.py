"""In which order received messages are forgotten (:rfc:`7252` sections 4.5 and 4.8.2).

Those of one kind expire in the order in which they came.  Rule 1: a place in that order is two numbers, which a garbage
collector does not walk, however many there are.  Rule 2: who goes out of turn leaves a stale place behind, which is found
out when it comes up; when there are too many of them, the others are copied, a few at a time.  Rule 3: every operation costs
O(1), spread over those before it, and no message waits while a hundred thousand others are looked at; only stale places are
passed all at once where somebody is to be forgotten, which takes little time for each.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias, final

if TYPE_CHECKING:
    from trio_coap.messaging.receivedcache import ReceivedCache

_MIN_COMPACTION = 64
"""Below so many places that are not needed any more, moving the others is not worth it."""

_MOST_STALE = 2
"""Times as many places as messages, above which copying begins."""

_COPIED_AT_ONCE = 4
"""Places to look at for each message that goes out of turn: the copy is ready before as many again have gone."""

_LOOKED_AT = 256
"""Messages that must stay, to be looked at for one that may be forgotten, at most; and stale places before the first one that
is due."""

MESSAGE_ID_BITS = 16
_MESSAGE_ID = (1 << MESSAGE_ID_BITS) - 1


Candidate: TypeAlias = "tuple[ReceivedCache, int, float]"
"""A cache, a message ID in it, and when the message came, in seconds."""


@final
class ExpiryOrder:
    """Messages of one or many remote endpoints, the oldest first.

    A message is told by a key: the number of the cache that it is in, and its message ID.

    Attributes:
      lifetime: how long each is remembered, in seconds.
      has_candidate: whether nobody need look for one: :meth:`candidate` has found one, and it has not been forgotten since.
    """

    __slots__ = ("_candidate", "_copied", "_copy", "_created", "_find", "_first", "_keys", "has_candidate", "lifetime")

    def __init__(self, find: Callable[[int], ReceivedCache | None], lifetime: float = math.inf) -> None:
        """Make an empty order.

        Args:
          find: returns the cache with a number, or None if it is gone.
          lifetime: how long each message is remembered, in seconds.
        """
        self._find = find
        self.lifetime = lifetime
        self.clear()

    def clear(self) -> None:
        """Drop all places."""
        self._created = array("d")
        self._keys = array("Q")
        self._first = 0
        # Of those before it, none may be forgotten early.
        self._candidate = 0
        self.has_candidate = False
        # Takes over the places before that number which are not stale, and then takes the place of this order.
        self._copy: ExpiryOrder | None = None
        self._copied = 0

    def __bool__(self) -> bool:
        return self._first < len(self._keys)

    def append(self, key: int, created_at: float) -> bool:
        """Put in a message that came after all others, or with the last one, and return whether it is the only one."""
        created = self._created
        is_only = len(created) == self._first
        if not is_only and created_at < created[-1]:
            created_at = created[-1]  # A clock that went back; the order stays.
        created.append(created_at)
        self._keys.append(key)
        return is_only

    def fill(self, keys: Iterable[int], latest: float) -> None:
        """Put many messages that came by *latest*, in seconds, into an order that is empty."""
        self._keys.extend(keys)
        self._created = array("d", [latest]) * len(self._keys)

    @property
    def latest(self) -> float:
        """When the last message came, in seconds, or a later one that is gone; minus infinity for an empty order."""
        return self._created[-1] if self else -math.inf

    def earliest(self) -> float:
        """Return when the first message expires, in seconds; infinity if there is none.

        Behind many stale places, that is too early: then these are looked at some at a time.
        """
        self._drop_stale()
        return self._created[self._first] + self.lifetime if self else math.inf

    def is_due(self, now: float) -> bool:
        """Return whether the lifetime of the first message, or of a stale place before it, is over."""
        return self._first < len(self._keys) and self._created[self._first] + self.lifetime <= now

    def pop(self) -> tuple[ReceivedCache, int] | None:
        """Drop the first place, and return the cache and ID of its message; None if it is stale."""
        first = self._first
        cache, message_id = self._cache_at(first), self._keys[first] & _MESSAGE_ID
        self.drop_first()
        return None if cache is None else (cache, message_id)

    def first(self) -> Candidate | None:
        """Return the cache and ID of the first message that is there, and when it came; None if there is none.

        For who wants to look at it, as this looks at all stale places before it.
        """
        while self:
            first = self._first
            cache = self._cache_at(first)
            if cache is not None:
                return cache, self._keys[first] & _MESSAGE_ID, self._created[first]
            self.drop_first()
        return None

    def candidate(self) -> Candidate | None:
        """Return the first message that may be forgotten early, as :meth:`first` does.

        Behind many that must stay, None is returned, and the next call goes on from there.  Stale places do not count: to
        pass one takes no time to speak of, and nobody who asks should be turned away for them.
        """
        keys, created, find = self._keys, self._created, self._find
        found, begin, looked_at = None, self._candidate, 0
        place, end = begin, len(keys)
        while place < end and looked_at < _LOOKED_AT:
            key = keys[place]
            cache = find(key >> MESSAGE_ID_BITS)
            if cache is not None:
                message_id = key & _MESSAGE_ID
                if message_id in cache.kept or message_id in cache.by_id:
                    if cache.may_forget(message_id, created[place]):
                        found = cache, message_id, created[place]
                        break
                    looked_at += 1
            place += 1
        self.has_candidate = found is not None
        self._candidate = place
        if begin == self._first < place:
            self._drop_stale()
        return found

    def drop_first(self) -> None:
        """Drop the first place."""
        self._drop_until(self._first + 1)

    def _drop_stale(self) -> None:
        """Drop stale places at the beginning, of many only some."""
        place = first = self._first
        end = min(first + _LOOKED_AT, len(self._keys))
        while place < end and self._cache_at(place) is None:
            place += 1
        if place > first:
            self._drop_until(place)

    def _drop_until(self, first: int) -> None:
        """Drop all places before one, which is the first then, though its number may change."""
        self._first = first
        if self._candidate < first:
            self._candidate = first
        if 2 * first > len(self._keys) + _MIN_COMPACTION:
            # As many have been dropped as are moved now.
            del self._keys[:first]
            del self._created[:first]
            self._candidate -= first
            self._copied = max(self._copied - first, 0)
            self._first = 0

    def message_removed(self, key: int, live: int) -> None:
        """Learn that a message is gone, whose place may be anywhere.

        Args:
          key: of the message.
          live: how many of the messages are still there, at most.
        """
        keys, first = self._keys, self._first
        places = len(keys) - first
        if places and keys[first] == key:
            self.drop_first()
        elif self._copy is not None:
            self._copy_some(self._copy)
        elif places > _MOST_STALE * live + _MIN_COMPACTION:
            self._copy = ExpiryOrder(self._find)
            self._copied = first

    def _copy_some(self, copy: ExpiryOrder) -> None:
        start = max(self._copied, self._first)
        end = min(start + _COPIED_AT_ONCE, len(self._keys))
        for place in range(start, end):
            if self._cache_at(place) is not None:
                copy.append(self._keys[place], self._created[place])
                if place < self._candidate:
                    copy._candidate = len(copy._keys)
        self._copied = end
        if end == len(self._keys):
            self._created, self._keys = copy._created, copy._keys
            self._first, self._candidate = copy._first, copy._candidate
            self._copy = None

    def _cache_at(self, place: int) -> ReceivedCache | None:
        """Return the cache of the message at a place, or None if the place is stale."""
        key = self._keys[place]
        cache = self._find(key >> MESSAGE_ID_BITS)
        if cache is None:
            return None
        created_at = cache.creation_of(key & _MESSAGE_ID)
        # The ID may have come again since, with a later message.
        return cache if created_at is not None and created_at <= self._created[place] else None

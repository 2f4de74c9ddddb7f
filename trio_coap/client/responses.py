"""The responses that a cache keeps: fresh ones, ones that may be validated, and no more than there is room for.

Rule 1: under each key the newest response comes first, and only that one may be fresh; older ones stay for their ETags.
Rule 2: bounded in responses and in octets; the key that was not used for the longest loses its oldest first.  Rule 3: the
time is an argument; whose response is newer, others know.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import final

import attrs

from trio_coap.client.cachekeys import CacheKey, Resource
from trio_coap.messaging.sent import DEFAULT_MAX_AGE
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Response

MAX_VERSIONS = 4
"""Responses with different ETags that are kept for one request: each costs up to nine octets in the next request."""

_NEVER = float("-inf")
_ECHO = 252
_OF_ONE_EXCHANGE = (6, 23, 27, _ECHO)
"""Options that are about how a response came: Observe, Block2, Block1 and Echo."""


@attrs.define(eq=False)
class StoredResponse:
    """A response that is kept."""

    response: Response
    etag: bytes | None
    """What the server can be asked about it; None for what cannot be validated."""
    fresh_until: float
    """In seconds; minus infinity for what is not fresh any more."""
    octets: int


@final
class StoredResponses:
    """Responses by key.

    Attributes:
      count: how many there are.
      octets: what they take.
      turned_away: how many were forgotten or not stored because of a limit, by the limit's name.
    """

    def __init__(self, max_responses: int, max_octets: int) -> None:
        """Begin with nothing."""
        self.count = 0
        self.octets = 0
        self.turned_away: Counter[str] = Counter()
        self._max_responses = max_responses
        self._max_octets = max_octets
        # The key that was used last is the last.
        self._by_key: OrderedDict[CacheKey, list[StoredResponse]] = OrderedDict()

    def versions(self, key: CacheKey) -> Sequence[StoredResponse]:
        """Return what is stored under *key*, the newest first."""
        return tuple(self._by_key.get(key, ()))

    def find_fresh(self, key: CacheKey, now: float) -> Response | None:
        """Return a copy of the response that is fresh at *now*, with what is left of its Max-Age, or None."""
        stored = self._by_key.get(key)
        if not stored or now > stored[0].fresh_until:
            return None
        self._by_key.move_to_end(key)
        return stored[0].response.replace(max_age=int(stored[0].fresh_until - now))

    def store(self, key: CacheKey, response: Response, now: float) -> None:
        """Keep *response*, if it may be; older ones do not count as fresh any more in any case (section 5.6.1)."""
        max_age = response.options.max_age
        max_age = DEFAULT_MAX_AGE if max_age is None else max_age
        etag = response.options.etag if response.code is Code.CONTENT else None
        stored = StoredResponse(_as_stored(response), etag, now + max_age if max_age else _NEVER, key.octets)
        stored.octets += len(response.payload) + sum([len(value) for _, value in stored.response.options])
        is_of_use = _is_cacheable(response) and (max_age > 0 or etag is not None)
        is_stored = is_of_use and self._has_room(stored)
        self.outdate(key, replaced=etag, at_most=MAX_VERSIONS - is_stored)
        if not is_stored:
            return
        self._by_key.setdefault(key, []).insert(0, stored)
        self._by_key.move_to_end(key)
        self.count += 1
        self.octets += stored.octets
        while self.count > self._max_responses or self.octets > self._max_octets:
            self.turned_away["max_responses" if self.count > self._max_responses else "max_octets"] += 1
            self._forget_one(next(iter(self._by_key)))

    def outdate(self, key: CacheKey, *, replaced: bytes | None = None, at_most: int = MAX_VERSIONS) -> None:
        """Let nothing that is stored under *key* count as fresh.

        Args:
          key: of the responses.
          replaced: the ETag of one that is forgotten.
          at_most: of those that the server may still find valid, how many to keep.
        """
        kept: list[StoredResponse] = []
        for one in self._by_key.get(key, ()):
            one.fresh_until = _NEVER
            if one.etag is not None and one.etag != replaced and len(kept) < at_most:
                kept.append(one)
            else:
                self.count -= 1
                self.octets -= one.octets
        if kept:
            self._by_key[key] = kept
        else:
            self._by_key.pop(key, None)

    def outdate_all(self, resource: Resource) -> None:
        """Let nothing that is stored of *resource* count as fresh."""
        for key in [key for key in self._by_key if key.resource == resource]:
            self.outdate(key)

    def clear(self) -> None:
        """Forget everything."""
        self._by_key.clear()
        self.count = self.octets = 0

    def _has_room(self, stored: StoredResponse) -> bool:
        if self._max_responses and stored.octets <= self._max_octets:
            return True
        self.turned_away["max_octets" if self._max_responses else "max_responses"] += 1
        return False

    def _forget_one(self, key: CacheKey) -> None:
        stored = self._by_key[key]
        self.octets -= stored.pop().octets
        self.count -= 1
        if not stored:
            del self._by_key[key]


def _is_cacheable(response: Response) -> bool:
    code = response.code
    if code is Code.CONTENT:
        return True
    # Sections 5.9.2 and 5.9.3.  What is not recognized among the successes must not be cached (section 5.6).
    return code.class_ in (4, 5) and code is not Code.REQUEST_ENTITY_INCOMPLETE and _ECHO not in response.options


def _as_stored(response: Response) -> Response:
    """Return a copy that nobody else changes, and that is no message."""
    copy = response.replace(options=response.options.without(*_OF_ONE_EXCHANGE))
    copy.message_id = None
    copy.token = b""
    return copy

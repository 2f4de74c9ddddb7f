"""Holding requests back from a server that has too much to do (:rfc:`7252` section 5.9.3.4, :rfc:`8516`).

Rule 1: a 5.03 or 4.29 says by Max-Age how long; whoever asked gets it like any other response.  Rule 2: what it says holds
for the remote endpoint, whatever the resource: the load is that of the server.  Rule 3: a later one makes it longer, never
shorter.  Rule 4: waiting is the task's of who asks; nothing is entered meanwhile, so that cancelling sends nothing.
"""

from __future__ import annotations

from typing import final

import trio

from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.sent import DEFAULT_MAX_AGE
from trio_coap.wire.codes import Code
from trio_coap.wire.message import EndpointAddress, Request, Response

MAX_HELD_REMOTES = 1024
"""Remote endpoints that requests are held back from: a client has few of them, and one that crawls a network must not
fill its memory with those that have asked for a year.  What is above is not held back."""

_ASK_FOR_TIME = frozenset({Code.SERVICE_UNAVAILABLE, Code.TOO_MANY_REQUESTS})


@final
class Backpressure:
    """Knows which servers have asked for some time, and waits until it is over."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        """Begin with none.

        Args:
          endpoint: counts what was turned away.
        """
        self._endpoint = endpoint
        self._until: dict[EndpointAddress, float] = {}

    def take_note(self, response: Response, now: float) -> None:
        """Note what *response* asks for, if it does."""
        if response.code not in _ASK_FOR_TIME:
            return
        remote = response.source_endpoint
        assert remote is not None
        max_age = response.options.max_age
        until = now + (DEFAULT_MAX_AGE if max_age is None else max_age)
        if remote not in self._until and len(self._until) >= MAX_HELD_REMOTES:
            self._until = {known: at for known, at in self._until.items() if at > now}
            if len(self._until) >= MAX_HELD_REMOTES:
                self._endpoint.counters.turned_away["remotes that requests are held back from"] += 1
                return
        self._until[remote] = max(until, self._until.get(remote, until))

    def held_until(self, remote: EndpointAddress | None, now: float) -> float | None:
        """Return when requests may go to *remote* again, in seconds, or None if that is now."""
        until = None if remote is None else self._until.get(remote)
        if until is None or until > now:
            return until
        assert remote is not None
        del self._until[remote]
        return None

    def is_held(self, request: Request) -> bool:
        """Return whether *request* may not go now."""
        return self.held_until(request.destination_endpoint, self._endpoint.clock()) is not None

    async def wait(self, remote: EndpointAddress | None) -> None:
        """Wait until requests may go to *remote*; a checkpoint only if that is not now."""
        until = self.held_until(remote, self._endpoint.clock())
        while until is not None:
            await trio.sleep_until(until)
            until = self.held_until(remote, self._endpoint.clock())  # Another response may have asked for more.

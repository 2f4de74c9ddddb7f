"""The tasks of ``async def`` handlers, and who still wants to know what they find out (:rfc:`7252` section 5.3.1).

=======================================================  ====================================================
what happens                                             which handlers are cancelled
=======================================================  ====================================================
a GET or FETCH with Observe 1 (:rfc:`7641` section 3.6)  those of the same remote and token
another request under a token that is not empty          likewise: a token is used again when the request is over
a Reset for our ACK                                      that of the request that the ACK was for
an ICMP error that quotes our ACK                        likewise
an ICMP error that quotes a message of our own           all of the remote: it is gone
=======================================================  ====================================================

Rule 1: what is cancelled sends no response.  Rule 2: a duplicate is no new request, and never comes here.
"""

from __future__ import annotations

from typing import final

import attrs
import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.message import Request


@final
@attrs.define(eq=False)
class RunningHandler:
    """The task of a handler that answers one request."""

    remote: Endpoint
    """Who has asked."""

    request: Request
    """What was asked."""

    scope: trio.CancelScope
    """Ends the task."""


@final
class RunningHandlers:
    """The handler tasks of one server, those of notifications not among them: of these each observer has one at most.

    Attributes:
      cancelled: how many were cancelled because nobody wanted to know any more.
    """

    def __init__(self, max_in_all: int, max_per_remote: int) -> None:
        """Start with none.

        Args:
          max_in_all: how many may run at a time.
          max_per_remote: how many of them for one remote endpoint.
        """
        self.cancelled = 0
        self._max_in_all = max_in_all
        self._max_per_remote = max_per_remote
        self._count = 0
        self._by_remote: dict[Endpoint, dict[RunningHandler, None]] = {}

    def __len__(self) -> int:
        return self._count

    def find_limit(self, remote: Endpoint) -> str | None:
        """Return the name of the limit that one more handler for *remote* would break; None for none."""
        if self._count >= self._max_in_all:
            return "max_running_handlers"
        if len(self._by_remote.get(remote, ())) >= self._max_per_remote:
            return "max_running_handlers_per_remote"
        return None

    def add(self, remote: Endpoint, request: Request) -> RunningHandler:
        """Enter a handler whose task is about to start; limits are the caller's business."""
        running = RunningHandler(remote, request, trio.CancelScope())
        self._by_remote.setdefault(remote, {})[running] = None
        self._count += 1
        return running

    def discard(self, running: RunningHandler) -> None:
        """Take out a handler that has come to its end."""
        of_remote = self._by_remote[running.remote]
        del of_remote[running]
        self._count -= 1
        if not of_remote:
            del self._by_remote[running.remote]

    def cancel(self, remote: Endpoint, *, token: bytes | None = None, message_id: int | None = None) -> None:
        """Cancel the handlers of *remote*: those of one token, that of one message ID, or all."""
        for running in self._by_remote.get(remote, ()):
            request = running.request
            is_meant = token in (None, request.token) and message_id in (None, request.message_id)
            if is_meant and not running.scope.cancel_called:
                self.cancelled += 1
                running.scope.cancel()

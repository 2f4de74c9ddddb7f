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

Rule 1: what is cancelled sends no response.  Rule 2: a duplicate is no new request, and never comes here.  Rule 3: the tasks
are those of :mod:`trio_coap.server.workers`, which run the handlers of notifications too; who observes looks after these.
"""

from __future__ import annotations

from typing import final

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.server.workers import Job, Running, Workers
from trio_coap.wire.message import Request


@final
class RunningHandler(Running):
    """A handler that answers one request, in a task.

    Attributes:
      remote: who has asked.
      request: what was asked.
    """

    __slots__ = ("remote", "request")

    def __init__(self, remote: Endpoint, request: Request) -> None:
        """Make one that has no task yet."""
        super().__init__()
        self.remote = remote
        self.request = request


@final
class RunningHandlers:
    """The handlers of one server that run in tasks, without those of notifications: of these each observer has one at most.

    Attributes:
      count: how many there are; ``len(handlers)`` likewise.
      cancelled: how many were cancelled because nobody wanted to know any more.
      workers: the tasks.
    """

    def __init__(self, nursery: trio.Nursery, max_in_all: int, max_per_remote: int) -> None:
        """Start with none.

        Args:
          nursery: for the tasks.
          max_in_all: how many may run at a time.
          max_per_remote: how many of them for one remote endpoint.
        """
        self.cancelled = 0
        self.workers = Workers(nursery)
        self._max_in_all = max_in_all
        self._max_per_remote = max_per_remote
        self.count = 0
        self._by_remote: dict[Endpoint, dict[RunningHandler, None]] = {}
        # The last one; those before it were cancelled when it came, unless the token is empty.
        self._by_token: dict[tuple[Endpoint, bytes], RunningHandler] = {}

    def __len__(self) -> int:
        return self.count

    @property
    def idle(self) -> int:
        """How many tasks wait for a handler."""
        return self.workers.idle

    def find_limit(self, remote: Endpoint) -> str | None:
        """Return the name of the limit that one more handler for *remote* would break; None for none."""
        if self.count >= self._max_in_all:
            return "max_running_handlers"
        if len(self._by_remote.get(remote, ())) >= self._max_per_remote:
            return "max_running_handlers_per_remote"
        return None

    def start(self, running: RunningHandler, job: Job) -> None:
        """Have a task run *job*, which runs the handler and calls :meth:`discard`; limits are the caller's business."""
        remote = running.remote
        self._by_remote.setdefault(remote, {})[running] = None
        self._by_token[remote, running.request.token] = running
        self.count += 1
        self.workers.start(running, job)

    def discard(self, running: RunningHandler) -> None:
        """Take out a handler that has come to its end."""
        remote = running.remote
        of_remote = self._by_remote[remote]
        del of_remote[running]
        if not of_remote:
            del self._by_remote[remote]
        key = remote, running.request.token
        if self._by_token.get(key) is running:
            del self._by_token[key]
        self.count -= 1

    def cancel(self, remote: Endpoint, *, message_id: int | None = None) -> None:
        """Cancel the handlers of *remote*: that of one message ID, or all."""
        for running in self._by_remote.get(remote, ()):
            if message_id in (None, running.request.message_id):
                self._cancel(running)

    def cancel_token(self, remote: Endpoint, token: bytes) -> None:
        """Cancel the handlers of *remote* for requests with *token*."""
        if token:
            running = self._by_token.get((remote, token))
            if running is not None:
                self._cancel(running)
            return
        for running in self._by_remote.get(remote, ()):
            if not running.request.token:
                self._cancel(running)

    def _cancel(self, running: RunningHandler) -> None:
        if not running.is_cancelled:
            self.cancelled += 1
            running.cancel()

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

Rule 1: what is cancelled sends no response.  Rule 2: a duplicate is no new request, and never comes here.  Rule 3: a task
whose handler has returned takes the next one, instead of ending while another task begins: to begin, and to have a cancel
scope, costs a task more than most handlers do.  Rule 4: no handler notices: each has its context variables to itself, and
when one is cancelled, its task ends.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, final

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.message import Request

MAX_IDLE = 64
"""Tasks that wait for a handler, at most: two batches of datagrams keep so many busy."""


@final
class RunningHandler:
    """A handler that answers one request, in a task.

    Attributes:
      remote: who has asked.
      request: what was asked.
      is_cancelled: whether it is to come to its end because nobody wants its response.
    """

    __slots__ = ("_worker", "is_cancelled", "remote", "request")

    def __init__(self, remote: Endpoint, request: Request) -> None:
        """Make one that has no task yet."""
        self.remote = remote
        self.request = request
        self.is_cancelled = False
        self._worker: _Worker | None = None

    def cancel(self) -> None:
        """Cancel the handler, unless it has come to its end."""
        if self._worker is not None:
            self.is_cancelled = True
            self._worker.scope.cancel()

    def run_in(self, worker: _Worker | None) -> None:
        """Note which task runs the handler; None when it has come to its end."""
        self._worker = worker


@final
class _Worker:
    """A task that runs handlers, and its cancel scope."""

    __slots__ = ("job", "running", "scope", "task")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.running: RunningHandler | None = None
        self.job: Coroutine[Any, Any, None] | None = None


@final
class RunningHandlers:
    """The handlers of one server that run in tasks, without those of notifications: of these each observer has one at most.

    Attributes:
      count: how many there are; ``len(handlers)`` likewise.
      cancelled: how many were cancelled because nobody wanted to know any more.
    """

    def __init__(self, nursery: trio.Nursery, max_in_all: int, max_per_remote: int) -> None:
        """Start with none.

        Args:
          nursery: for the tasks.
          max_in_all: how many may run at a time.
          max_per_remote: how many of them for one remote endpoint.
        """
        self.cancelled = 0
        self._nursery = nursery
        self._max_in_all = max_in_all
        self._max_per_remote = max_per_remote
        self.count = 0
        self._by_remote: dict[Endpoint, dict[RunningHandler, None]] = {}
        # The last one; those before it were cancelled when it came, unless the token is empty.
        self._by_token: dict[tuple[Endpoint, bytes], RunningHandler] = {}
        self._idle: list[_Worker] = []

    def __len__(self) -> int:
        return self.count

    @property
    def idle(self) -> int:
        """How many tasks wait for a handler."""
        return len(self._idle)

    def find_limit(self, remote: Endpoint) -> str | None:
        """Return the name of the limit that one more handler for *remote* would break; None for none."""
        if self.count >= self._max_in_all:
            return "max_running_handlers"
        if len(self._by_remote.get(remote, ())) >= self._max_per_remote:
            return "max_running_handlers_per_remote"
        return None

    def start(self, running: RunningHandler, job: Coroutine[Any, Any, None]) -> None:
        """Have a task run *job*, which runs the handler and calls :meth:`discard`; limits are the caller's business."""
        remote = running.remote
        self._by_remote.setdefault(remote, {})[running] = None
        self._by_token[remote, running.request.token] = running
        self.count += 1
        worker = self._idle.pop() if self._idle else _Worker()
        worker.running, worker.job = running, job
        running.run_in(worker)
        if worker.task is None:
            self._nursery.start_soon(self._work, worker)
        else:
            trio.lowlevel.reschedule(worker.task)

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

    async def _work(self, worker: _Worker) -> None:
        worker.task = trio.lowlevel.current_task()
        with worker.scope:
            while True:
                running, job = worker.running, worker.job
                assert running is not None
                assert job is not None
                try:
                    await _run_apart(job, copy_context())
                finally:
                    running.run_in(None)
                    worker.running = worker.job = None
                    del running, job  # A request with its payload is not kept until the next one comes.
                if worker.scope.cancel_called or len(self._idle) >= MAX_IDLE:
                    return
                await self._wait_for_job(worker)

    async def _wait_for_job(self, worker: _Worker) -> None:
        def abort(raise_cancel: object) -> trio.lowlevel.Abort:
            self._idle.remove(worker)
            return trio.lowlevel.Abort.SUCCEEDED

        self._idle.append(worker)
        await trio.lowlevel.wait_task_rescheduled(abort)


@types.coroutine
def _run_apart(job: Coroutine[Any, Any, None], context: Context) -> Generator[Any, Any, None]:
    """Run *job* in this task, with the context variables of *context*."""
    step, argument = job.send, None
    while True:
        try:
            trap = context.run(step, argument)
        except StopIteration:
            return
        try:
            step, argument = job.send, (yield trap)
        except BaseException as exc:
            step, argument = job.throw, exc

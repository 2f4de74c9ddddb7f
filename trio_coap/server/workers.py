"""Tasks that run ``async def`` handlers, for responses and for notifications.

Rule 1: a task whose handler has returned takes the next one, instead of ending while another task begins: to begin, to
have a cancel scope, and to get its turn costs a task more than most handlers do.  Rule 2: no handler waits for another one:
before one waits, another task takes over those that have not begun.  Rule 3: no handler notices: each has context variables of
its own, those of who has it run, and when one is cancelled, its task ends.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, final

import trio

MAX_IDLE = 64
"""Tasks that wait for a handler, at most: two batches of datagrams keep so many busy."""

MAX_AT_ONCE = 64
"""Handlers that a task runs in one turn, at most: they may have others run, which may have others run."""

Job = Coroutine[Any, Any, None]


class Running:
    """A handler that runs in a task, or is about to.

    Attributes:
      is_cancelled: whether it is to come to its end because nobody wants to know any more what it finds out.
    """

    __slots__ = ("_is_over", "_worker", "is_cancelled")

    def __init__(self) -> None:
        """Make one that has no task yet."""
        self.is_cancelled = False
        self._is_over = False
        self._worker: _Worker | None = None

    def cancel(self) -> None:
        """Cancel the handler, unless it has come to its end."""
        if self._is_over:
            return
        self.is_cancelled = True
        if self._worker is not None:
            self._worker.scope.cancel()

    def begin(self, worker: _Worker) -> None:
        """Note which task runs the handler."""
        self._worker = worker
        if self.is_cancelled:
            worker.scope.cancel()

    def end(self) -> None:
        """Note that the handler has come to its end."""
        self._is_over = True
        self._worker = None


@final
class _Worker:
    """A task that runs handlers, and its cancel scope."""

    __slots__ = ("scope", "task")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None


@final
class Workers:
    """The tasks of one server that run handlers."""

    def __init__(self, nursery: trio.Nursery) -> None:
        """Have the tasks in *nursery*; at first there are none."""
        self._nursery = nursery
        self._idle: list[_Worker] = []
        self._jobs: deque[tuple[Running, Job, Context]] = deque()
        # The task that will take the next job, if one has been woken for that.
        self._next: _Worker | None = None

    @property
    def idle(self) -> int:
        """How many tasks wait for a handler."""
        return len(self._idle)

    def start(self, running: Running, job: Job) -> None:
        """Have a task run *job*, which runs the handler, with a copy of the caller's context variables."""
        self._jobs.append((running, job, copy_context()))
        if self._next is None:
            self._wake()

    def _wake(self) -> None:
        """Have a task take the next job."""
        self._next = worker = self._idle.pop() if self._idle else _Worker()
        if worker.task is None:
            self._nursery.start_soon(self._work, worker)
        else:
            trio.lowlevel.reschedule(worker.task)

    async def _work(self, worker: _Worker) -> None:
        worker.task = trio.lowlevel.current_task()
        with worker.scope:
            try:
                while True:
                    for _ in range(min(len(self._jobs), MAX_AT_ONCE)):
                        # Another task may have taken the rest while this one waited.
                        if self._jobs and await self._run_next(worker):
                            return
                    self._hand_over(worker)
                    if len(self._idle) >= MAX_IDLE:
                        return
                    await self._wait_for_job(worker)
            finally:
                self._hand_over(worker)

    def _hand_over(self, worker: _Worker) -> None:
        """Leave the jobs that have not begun to another task."""
        if self._next is worker:
            self._next = None
        if self._jobs and self._next is None:
            self._wake()

    async def _wait_for_job(self, worker: _Worker) -> None:
        def abort(raise_cancel: object) -> trio.lowlevel.Abort:
            self._idle.remove(worker)
            return trio.lowlevel.Abort.SUCCEEDED

        self._idle.append(worker)
        await trio.lowlevel.wait_task_rescheduled(abort)

    @types.coroutine
    def _run_next(self, worker: _Worker) -> Generator[Any, Any, bool]:
        """Run the next job in this task, with its own context variables, and return whether it has been cancelled."""
        running, job, context = self._jobs.popleft()
        running.begin(worker)
        step, argument = job.send, None
        try:
            while True:
                try:
                    trap = context.run(step, argument)
                except StopIteration:
                    return running.is_cancelled
                self._hand_over(worker)
                try:
                    step, argument = job.send, (yield trap)
                except BaseException as exc:
                    step, argument = job.throw, exc
        finally:
            running.end()

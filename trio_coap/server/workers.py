"""Tasks that run ``async def`` handlers, for responses and for notifications.

Rule 1: a task whose handler has returned takes the next one, instead of ending while another task begins: to begin, and to
have a cancel scope, costs a task more than most handlers do.  Rule 2: no handler notices: each has context variables of its
own, those of who has it run, and when one is cancelled, its task ends.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, final

import trio

MAX_IDLE = 64
"""Tasks that wait for a handler, at most: two batches of datagrams keep so many busy."""

Job = Coroutine[Any, Any, None]


class Running:
    """A handler that runs in a task, or is about to.

    Attributes:
      is_cancelled: whether it is to come to its end because nobody wants to know any more what it finds out.
    """

    __slots__ = ("_worker", "is_cancelled")

    def __init__(self) -> None:
        """Make one that has no task yet."""
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

    __slots__ = ("context", "job", "running", "scope", "task")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.running: Running | None = None
        self.job: Job | None = None
        self.context: Context | None = None


@final
class Workers:
    """The tasks of one server that run handlers."""

    def __init__(self, nursery: trio.Nursery) -> None:
        """Have the tasks in *nursery*; at first there are none."""
        self._nursery = nursery
        self._idle: list[_Worker] = []

    @property
    def idle(self) -> int:
        """How many tasks wait for a handler."""
        return len(self._idle)

    def start(self, running: Running, job: Job) -> None:
        """Have a task run *job*, which runs the handler, with a copy of the caller's context variables."""
        worker = self._idle.pop() if self._idle else _Worker()
        worker.running, worker.job, worker.context = running, job, copy_context()
        running.run_in(worker)
        if worker.task is None:
            self._nursery.start_soon(self._work, worker)
        else:
            trio.lowlevel.reschedule(worker.task)

    async def _work(self, worker: _Worker) -> None:
        worker.task = trio.lowlevel.current_task()
        with worker.scope:
            while True:
                running, job, context = worker.running, worker.job, worker.context
                assert running is not None
                assert job is not None
                assert context is not None
                try:
                    await _run_apart(job, context)
                finally:
                    running.run_in(None)
                    worker.running = worker.job = worker.context = None
                    del running, job, context  # A request with its payload is not kept until the next one comes.
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
def _run_apart(job: Job, context: Context) -> Generator[Any, Any, None]:
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

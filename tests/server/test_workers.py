"""Tasks that run handlers one after the other, and several when handlers wait."""

from __future__ import annotations

import gc
import warnings

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_coap.server.workers import MAX_AT_ONCE, Running, Workers


class Log:
    """Handlers, and what they have done."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.tasks: dict[int, trio.lowlevel.Task] = {}
        self.may_end = trio.Event()

    def start(self, number: int, *, waits: bool) -> Running:
        running = Running()
        self.workers.start(running, self._handler(number, waits=waits))
        return running

    async def _handler(self, number: int, *, waits: bool) -> None:
        self.begun.append(number)
        self.tasks[number] = trio.lowlevel.current_task()
        try:
            if waits:
                await self.may_end.wait()
        except trio.Cancelled:
            self.cancelled.append(number)
            raise
        self.ended.append(number)


@pytest.fixture
def log(nursery: trio.Nursery) -> Log:
    return Log(Workers(nursery))


async def test_handlers_that_do_not_wait_share_a_task_and_its_turn(log: Log) -> None:
    for number in range(20):
        log.start(number, waits=False)
    await wait_all_tasks_blocked()
    assert log.ended == list(range(20))
    assert len(set(log.tasks.values())) == log.workers.idle == 1


async def test_a_handler_that_waits_holds_no_other_up(log: Log) -> None:
    for number in range(6):
        log.start(number, waits=number % 2 == 0)
    await wait_all_tasks_blocked()
    assert log.begun == list(range(6))
    assert log.ended == [1, 3, 5]
    assert len({log.tasks[number] for number in (0, 2, 4)}) == 3
    log.may_end.set()
    await wait_all_tasks_blocked()
    assert sorted(log.ended) == list(range(6))


async def test_they_begin_in_the_order_in_which_they_came(log: Log) -> None:
    log.start(0, waits=True)
    await wait_all_tasks_blocked()
    for number in (1, 2, 3):
        log.start(number, waits=number == 1)
    log.may_end.set()
    await wait_all_tasks_blocked()
    assert log.begun == [0, 1, 2, 3]


async def test_handlers_that_have_others_run_for_ever_do_not_stop_the_rest(nursery: trio.Nursery) -> None:
    workers = Workers(nursery)
    count = 0

    async def job() -> None:
        nonlocal count
        count += 1
        workers.start(Running(), job())

    workers.start(Running(), job())
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    assert 10 < count <= 100 * MAX_AT_ONCE
    nursery.cancel_scope.cancel()
    workers.start = lambda running, job: job.close()  # type: ignore[method-assign]


async def test_what_is_cancelled_before_it_begins_ends_where_it_first_waits(log: Log) -> None:
    log.start(0, waits=False)
    log.start(1, waits=True).cancel()
    log.start(2, waits=False)
    await wait_all_tasks_blocked()
    assert (log.cancelled, log.ended) == ([1], [0, 2])


async def test_the_others_go_on_in_another_task_when_one_is_cancelled(log: Log) -> None:
    first = log.start(0, waits=True)
    await wait_all_tasks_blocked()
    first.cancel()
    for number in (1, 2):
        log.start(number, waits=False)
    await wait_all_tasks_blocked()
    assert (log.cancelled, log.ended) == ([0], [1, 2])
    assert log.tasks[0] not in (log.tasks[1], log.tasks[2])


async def test_a_handler_that_was_cancelled_and_did_not_notice_costs_its_task_but_no_other_handler(log: Log) -> None:
    log.start(0, waits=False).cancel()
    log.start(1, waits=True)
    await wait_all_tasks_blocked()
    assert (log.ended, log.cancelled) == ([0], [])
    log.may_end.set()
    await wait_all_tasks_blocked()
    assert log.ended == [0, 1]


async def test_all_that_are_to_run_learn_that_the_server_ends() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with trio.open_nursery() as nursery:
            log = Log(Workers(nursery))
            log.start(0, waits=True)
            await wait_all_tasks_blocked()
            for number in (1, 2, 3):
                log.start(number, waits=True)
            nursery.cancel_scope.cancel()
        gc.collect()  # A coroutine that nobody awaited would warn now.
    assert sorted(log.cancelled) == [0, 1, 2, 3]


async def test_a_handler_that_fails_ends_the_server_with_its_error() -> None:
    async def failing() -> None:
        raise KeyError("defect")

    with pytest.RaisesGroup(KeyError):
        async with trio.open_nursery() as nursery:
            log = Log(Workers(nursery))
            log.workers.start(Running(), failing())
            log.start(1, waits=True)
    assert log.cancelled == [1]

"""Work that may have to wait."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest
import trio

from trio_coap.server.steps import Later, Steps, run, run_later, wait


async def give(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value


async def fail() -> int:
    await trio.lowlevel.checkpoint()
    raise ValueError("no")


def add(*values: int | Awaitable[int]) -> Steps[int]:
    total = 0
    for value in values:
        total += yield from wait(value)
    return total


def test_what_need_not_wait_is_done_at_once() -> None:
    assert run(add(1, 2)) == 3


async def test_what_must_wait_is_awaited() -> None:
    later = run(add(1, give(2), 3, give(4)))
    assert isinstance(later, Later)
    assert await later == 10


async def test_what_is_to_run_later_runs_when_it_is_awaited() -> None:
    taken = []

    def note() -> Steps[str]:
        taken.append(1)
        yield from ()
        return "done"

    later = run_later(note())
    assert taken == []
    assert await later == "done"
    assert await run_later(add(1, give(2))) == 3


@pytest.mark.parametrize("start", [run, run_later])
async def test_an_error_comes_where_it_can_be_caught(start: Any) -> None:
    def rescue() -> Steps[int]:
        try:
            return (yield from add(fail()))
        except ValueError:
            return (yield from add(give(7)))

    assert await start(rescue()) == 7
    with pytest.raises(ValueError, match="no"):
        await start(add(fail()))


def test_an_error_before_the_first_wait_is_raised_at_once() -> None:
    def refuse() -> Steps[int]:
        yield from ()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(refuse())


@pytest.mark.parametrize("start", [run, run_later])
def test_what_is_closed_leaves_nothing_unawaited(start: Any) -> None:
    closed = []

    def note() -> Steps[int]:
        try:
            return (yield from add(give(1)))
        finally:
            closed.append(True)

    later = start(note())
    later.close()  # Without a warning of a coroutine that was never awaited.
    assert closed == ([True] if start is run else [])


def test_it_passes_for_a_coroutine() -> None:
    later: object = run(add(give(1)))
    assert isinstance(later, Coroutine)
    with pytest.raises(KeyError):
        later.throw(KeyError())
    later.close()


async def test_cancelling_ends_the_steps() -> None:
    ended = []
    never = trio.Event()

    def sleep() -> Steps[None]:
        try:
            yield never.wait()
        finally:
            ended.append(True)

    with trio.move_on_after(0):
        await run_later(sleep())
    assert ended == [True]

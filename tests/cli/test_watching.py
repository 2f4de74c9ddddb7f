"""What is observed, and when it is looked at, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_coap.cli import watching


class Observer:
    """As much of one as is asked for where nothing changes."""

    parameters: dict[str, object] = {}


async def test_nobody_looks_while_nobody_observes(autojump_clock: MockClock) -> None:
    looks = []

    async def look(path: tuple[str, ...]) -> bytes | None:
        looks.append(path)
        return b"state"

    watched = watching.Watching(look)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        assert watched.find(("a",)) is not None
        await trio.sleep(10)
        assert (looks, len(watched)) == ([], 0)
        nursery.cancel_scope.cancel()


def test_what_can_be_watched_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_WATCHED", 2)
    watched = watching.Watching(lambda path: pytest.fail("nobody runs it"))
    observer: Any = Observer()
    found = [watched.find((name,)) for name in ("a", "b")]
    for observable in found:
        assert observable is not None
        observable.add(observer)
    assert watched.find(("c",)) is None
    assert found[0] is not None
    found[0].discard(observer)
    assert watched.find(("c",)) is not None


async def test_looking_takes_a_small_part_of_the_time(autojump_clock: MockClock) -> None:
    looks: list[float] = []

    async def look(path: tuple[str, ...]) -> bytes:
        looks.append(trio.current_time())
        await trio.sleep(2)
        return b"state"

    watched = watching.Watching(look)
    observable = watched.find(("large",))
    observer: Any = Observer()
    assert observable is not None
    observable.add(observer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert 3 <= len(looks) <= 6

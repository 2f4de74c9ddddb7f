"""Work that may have to wait for something: it is done at once if it need not.

Rule 1: such work is written once, as a generator of *steps*: it yields what is to be awaited, and is sent what that
returned.  Rule 2: as long as nothing is to be awaited, it runs where it was called, in one stretch.  Rule 3: what is
closed instead of awaited closes what it would wait for, so that nothing is left that was never awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar, final, runtime_checkable

T = TypeVar("T")

Steps = Generator[Awaitable[Any], Any, T]
"""What yields the things to await, and returns the result of the work."""


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> object: ...


@final
class Later(Generic[T]):
    """The rest of some work, to be awaited; a coroutine in all but name."""

    def __init__(self, rest: Coroutine[Any, Any, T], *waited_for: object) -> None:
        """Stand for *rest*, with which *waited_for* is closed."""
        self._rest = rest
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, T]:
        return self._rest.__await__()

    def send(self, value: object) -> object:
        """See :class:`collections.abc.Coroutine`."""
        return self._rest.send(value)

    def throw(self, error: BaseException) -> object:
        """See :class:`collections.abc.Coroutine`."""
        return self._rest.throw(error)

    def close(self) -> None:
        """Have the rest never run."""
        self._rest.close()
        for thing in self._waited_for:
            if isinstance(thing, _Closable):
                thing.close()


def wait(result: T | Awaitable[T]) -> Steps[T]:
    """Return *result*, or what it comes to when it is awaited."""
    if isinstance(result, Awaitable):
        awaited: T = yield result
        return awaited
    return result


def run(steps: Steps[T]) -> T | Later[T]:
    """Take *steps* up to the first thing to await; return the result, or the rest."""
    try:
        first = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    return Later(_go_on(steps, first), first, steps)


def run_later(steps: Steps[T]) -> Later[T]:
    """Return something to await that takes all *steps*: the first of them in the task that awaits it."""
    return Later(_begin(steps), steps)


async def _begin(steps: Steps[T]) -> T:
    try:
        first = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    return await _go_on(steps, first)


async def _go_on(steps: Steps[T], awaitable: Awaitable[Any]) -> T:
    while True:
        error: BaseException | None = None
        outcome: object = None
        try:
            outcome = await awaitable
        except BaseException as exc:
            error = exc
        try:
            awaitable = steps.send(outcome) if error is None else steps.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            error = None  # An exception and the frame that it passed do not hold each other.

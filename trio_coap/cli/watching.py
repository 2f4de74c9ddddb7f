"""Who observes files is told when they change: the files are looked at again and again, while somebody observes.

Rule 1: what is compared is the state that was last handed out, to whomever, so that no change falls between two looks.
Rule 2: nobody observes, nobody looks.  Rule 3: what has gone is a change too; the handler says what it means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import final

import trio

from trio_coap.cli.tree import Path
from trio_coap.server import Observable

INTERVAL = 1.0
"""Seconds from one look to the next: a change is noticed within that time, and a look costs little, as a rule."""

SHARE = 0.1
"""How much of the time may go into looking, where nothing urges: a directory of thousands of files takes its time."""

MAX_WATCHED = 1000
"""Paths that are looked at: each costs a look at the disk every second.  Above it clients get plain responses."""

ReadState = Callable[[Path], Awaitable[bytes | None]]
"""Returns what tells one state of a path from another, None if there is nothing; OSError says that it cannot tell."""


@final
class Watching:
    """What is observed, and in which state it was last seen."""

    def __init__(self, read_state: ReadState) -> None:
        """Watch nothing yet; *read_state* is asked for the state of what is observed."""
        self._read_state = read_state
        self._observables: dict[Path, Observable] = {}
        self._states: dict[Path, bytes | None] = {}
        self._wanted = trio.Event()
        self._urged = trio.Event()

    def __len__(self) -> int:
        """Return how many paths are watched."""
        return len(self._observables)

    def __bool__(self) -> bool:
        return True

    def find(self, path: Path) -> Observable | None:
        """Return what is observed at *path*, from now on if it was not before; None if too much is."""
        if path not in self._observables and len(self) >= MAX_WATCHED:
            self._forget_unobserved()
            if len(self) >= MAX_WATCHED:
                return None
        self._wanted.set()
        return self._observables.setdefault(path, Observable())

    def seen(self, path: Path, state: bytes | None) -> None:
        """Take note that *path* is in this *state*, and tell its observers if it was another one."""
        observable = self._observables.get(path)
        if observable is None:
            return
        before = self._states.setdefault(path, state)
        if before != state:
            self._states[path] = state
            observable.notify()

    def urge(self) -> None:
        """Have the next look come at once: something has been changed."""
        self._urged.set()

    async def run(self) -> None:
        """Look for changes until cancelled."""
        looking = 0.0
        while True:
            await self._wanted.wait()
            # Half of the time at the most, even if clients write all the time.
            await trio.sleep(looking)
            with trio.move_on_after(max(INTERVAL, looking / SHARE)):
                await self._urged.wait()
            self._urged = trio.Event()
            self._forget_unobserved()
            started_at = trio.current_time()
            for path in list(self._observables):
                with suppress(OSError):  # It cannot be found out now; the next look will tell.
                    self.seen(path, await self._read_state(path))
            looking = trio.current_time() - started_at

    def _forget_unobserved(self) -> None:
        for path in [path for path, observable in self._observables.items() if not len(observable)]:
            del self._observables[path]
            self._states.pop(path, None)
        if not self._observables:
            self._wanted = trio.Event()

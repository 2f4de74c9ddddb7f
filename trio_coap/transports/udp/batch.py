"""How many datagrams to read at one wake-up.

Finding out that there are no more takes a system call of its own, which fails.  Where one datagram comes at a time, as with
a single client that waits for each answer, that is a good part of all the work; where many come, one wake-up for each would
be far more.  Rule 1: as long as several come, everything is read that is there.  Rule 2: when they have come one by one for some
time, one is read, and the system says whether there is another one.  Rule 3: from time to time that is looked into again.
"""

from __future__ import annotations

from typing import final

BATCH = 32
"""Datagrams read at one wake-up, at most: then other tasks get their turn."""

_ENOUGH = 8
"""Wake-ups with a single datagram, after which the next ones are expected to have no more."""

_AGAIN = 16
"""Wake-ups after which that is looked into again."""


@final
class BatchSize:
    """Learns from what came how many datagrams are worth trying to read.

    Attributes:
      datagrams: how many at the next wake-up.
    """

    __slots__ = ("_wake_ups", "datagrams")

    def __init__(self) -> None:
        """Expect many."""
        self.datagrams = BATCH
        self._wake_ups = 0

    def learn(self, count: int) -> None:
        """Take into account how many were read."""
        if self.datagrams == 1:
            self._wake_ups += 1
            if self._wake_ups == _AGAIN:
                self.datagrams = BATCH
                # One wake-up with a single datagram more, and they come one by one still.
                self._wake_ups = _ENOUGH - 1
        elif count > 1:
            self._wake_ups = 0
        else:
            self._wake_ups += 1
            if self._wake_ups >= _ENOUGH:
                self.datagrams = 1
                self._wake_ups = 0

"""What is on its way, by the time it arrives.

Rule 1: one task sleeps until the earliest arrival; who sends something that arrives earlier moves the deadline.  Rule 2: what
arrives at the same instant arrives in the order of flow and number, not in the order in which Trio ran the senders.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf
from typing import final

import trio

Arrival = Callable[[], None]
"""What happens on arrival; it must not raise."""


@final
class DeliveryQueue:
    """Arrivals to come, and the task that lets them happen."""

    def __init__(self) -> None:
        """Start with nothing on its way."""
        self._heap: list[tuple[float, str, int, int, Arrival]] = []
        self._sequence = count()
        self._wakeup: trio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, time: float, flow: str, number: int, arrival: Arrival) -> None:
        """Call *arrival* at *time*, in seconds; *flow* and *number* decide among several at one instant."""
        heapq.heappush(self._heap, (time, flow, number, next(self._sequence), arrival))
        if self._wakeup is not None and time < self._wakeup.deadline:
            self._wakeup.deadline = time

    async def run(self) -> None:
        """Let arrivals happen, until cancelled."""
        try:
            while True:
                self._deliver(trio.current_time())
                # With something due already this is just a checkpoint.
                with trio.CancelScope(deadline=self._heap[0][0] if self._heap else inf) as self._wakeup:
                    await trio.sleep_forever()
        finally:
            self._wakeup = None
            self._heap.clear()

    def _deliver(self, now: float) -> None:
        """Let happen what is due; what that causes at this same instant waits for the next turn."""
        heap = self._heap
        due = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[-1])
        for arrival in due:
            arrival()

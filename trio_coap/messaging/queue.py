"""A priority queue of entries by the time they are due.

Rule 1: every operation costs O(log n) or less, with a million entries too; appending what is due last costs
O(1).  Rule 2: what is due at one time comes out in the order it went in.  Rule 3: an entry that moves to a later
time is not touched; its old place is found out when it comes up, and then it goes behind those that are due with it.

A place is a tuple (time, sequence, entry).  Places are kept in a heap, and in a deque as long as they come in
ascending order, which the expiry times of remembered messages do.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Due(Protocol):
    """What can stand in a :class:`DueQueue`; both fields are the queue's to write."""

    queue_time: float | None
    """When the entry is due, in seconds; None if it is not in the queue."""

    queue_place: int
    """The sequence number of the entry's valid place."""


T = TypeVar("T", bound=Due)

_MIN_COMPACTION = 64
"""Below so many stale places, rebuilding is not worth it."""


class DueQueue(Generic[T]):
    """Entries sorted by the time they are due.

    ``len(queue)`` is the number of entries, iteration goes from the earliest to the latest.
    """

    __slots__ = ("_heap", "_length", "_on_earlier", "_sequence", "_tail")

    def __init__(self, on_earlier: Callable[[float], None] | None = None) -> None:
        """Make an empty queue.

        Args:
          on_earlier: is told each time that becomes the earliest, so that a sleeping task can be woken sooner.
        """
        self._heap: list[tuple[float, int, T]] = []
        self._tail: deque[tuple[float, int, T]] = deque()
        self._sequence = 0
        self._length = 0
        self._on_earlier = on_earlier

    def __len__(self) -> int:
        return self._length

    def schedule(self, entry: T, time_due: float) -> None:
        """Put *entry* in at *time_due*, or move it there."""
        previous = entry.queue_time
        entry.queue_time = time_due
        if previous is None:
            self._length += 1
        elif time_due >= previous:
            return  # Its old place comes up first, and then it is put where it belongs.
        self._place(entry, time_due)
        if self._on_earlier is not None and self._head()[2] is entry:
            self._on_earlier(time_due)
        if previous is not None:
            self._compact()

    def discard(self, entry: T) -> None:
        """Take *entry* out, if it is in."""
        if entry.queue_time is None:
            return
        entry.queue_time = None
        entry.queue_place = -1
        self._length -= 1
        # What is forgotten is mostly the oldest: then nothing stale stays behind.
        while self._heap or self._tail:
            _, sequence, head = self._head()
            if head.queue_place == sequence:
                break
            self._drop_head()
        self._compact()

    def earliest(self) -> float:
        """Return the time at which the first entry is due, in seconds; infinity for an empty queue."""
        return self._settled_head()[0] if self._length else math.inf

    def peek(self, now: float = math.inf) -> T | None:
        """Return the first entry, which stays in, if it is due at *now*; else return None."""
        if not self._length:
            return None
        time_due, _, entry = self._settled_head()
        return entry if time_due <= now else None

    def __iter__(self) -> Iterator[T]:
        entries = [place[2] for place in (*self._heap, *self._tail) if place[2].queue_place == place[1]]
        return iter(sorted(entries, key=_order))

    def clear(self) -> None:
        """Take out everything."""
        for entry in list(self):
            entry.queue_time = None
            entry.queue_place = -1
        self._heap.clear()
        self._tail.clear()
        self._length = 0

    def _place(self, entry: T, time_due: float) -> None:
        self._sequence += 1
        entry.queue_place = self._sequence
        place = (time_due, self._sequence, entry)
        tail = self._tail
        if not tail or time_due >= tail[-1][0]:
            tail.append(place)
        else:
            heapq.heappush(self._heap, place)

    def _head(self) -> tuple[float, int, T]:
        heap, tail = self._heap, self._tail
        if heap and (not tail or heap[0] < tail[0]):
            return heap[0]
        return tail[0]

    def _drop_head(self) -> tuple[float, int, T]:
        heap, tail = self._heap, self._tail
        if heap and (not tail or heap[0] < tail[0]):
            return heapq.heappop(heap)
        return tail.popleft()

    def _settled_head(self) -> tuple[float, int, T]:
        """Return the first place that is valid and in time; the queue must not be empty."""
        while True:
            head = self._head()
            time_due, sequence, entry = head
            if entry.queue_place == sequence:
                if entry.queue_time == time_due:
                    return head
                assert entry.queue_time is not None
                self._drop_head()
                self._place(entry, entry.queue_time)
            else:
                self._drop_head()

    def _compact(self) -> None:
        """Drop stale places when they are most of all, so that moving and discarding cannot make the queue grow.

        That costs O(n) after as many operations.  What moved to a later time keeps its place.
        """
        if len(self._heap) + len(self._tail) <= 2 * self._length + _MIN_COMPACTION:
            return
        self._heap = [place for place in self._heap if place[2].queue_place == place[1]]
        heapq.heapify(self._heap)
        self._tail = deque(place for place in self._tail if place[2].queue_place == place[1])


def _order(entry: Due) -> tuple[float, int]:
    return entry.queue_time or 0.0, entry.queue_place

"""A priority queue of entries by the time they are due.

Rule 1: every operation costs O(log n) or less, with a million entries too; appending what is due last costs
O(1).  Rule 2: what is due at one time comes out in the order it went in.  Rule 3: an entry that moves to a later
time is not touched, unless it is put off; its old place is found out when it comes up, and then it goes behind those
that are due with it.

A place has a time, a sequence number and an entry.  Places are kept in a few lanes as long as they come in ascending
order there, which the expiry times of remembered messages of one kind do, and in a heap otherwise.  A lane is three deques
side by side: a million tuples would be a million more objects for the garbage collector to walk.
"""

from __future__ import annotations

import heapq
import math
import operator
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar, final


class Due(Protocol):
    """What can stand in a :class:`DueQueue`; both fields are the queue's to write."""

    queue_time: float | None
    """When the entry is due, in seconds; None if it is not in the queue."""

    queue_place: int
    """The sequence number of the entry's valid place."""


T = TypeVar("T", bound=Due)


E_co = TypeVar("E_co", covariant=True)


class Store(Protocol[E_co]):
    """Who keeps entries for a queue in a way of its own, and makes them when somebody asks."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[float, E_co]]:
        """Return when each one is due, in seconds, and the entry, in any order."""

    def earliest(self) -> float:
        """Return when the first one is due, or an earlier time if that is cheaper to say; infinity if there is none."""

    def first(self) -> tuple[float, E_co] | None:
        """Return when the first one is due, in seconds, and the entry; None if there is none."""

    def clear(self) -> None:
        """Drop all."""


LANES = 3
"""CON and NON messages expire after different times, and those answered late stand behind those answered at once."""

_MIN_COMPACTION = 64
"""Below so many stale places, rebuilding is not worth it."""


@final
class _Lane(Generic[T]):
    """Places in ascending order of their times: the n-th of each deque belong together."""

    __slots__ = ("entries", "sequences", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        self.sequences: deque[int] = deque()
        self.entries: deque[T] = deque()

    def drop_head(self) -> None:
        self.times.popleft()
        self.sequences.popleft()
        self.entries.popleft()

    def clear(self) -> None:
        self.times.clear()
        self.sequences.clear()
        self.entries.clear()

    def drop_stale_heads(self) -> None:
        times, sequences, entries = self.times, self.sequences, self.entries
        while entries and entries[0].queue_place != sequences[0]:
            times.popleft()
            sequences.popleft()
            entries.popleft()

    def keep_valid(self) -> None:
        """Drop the stale places."""
        places = zip(self.times, self.sequences, self.entries, strict=True)
        valid = [place for place in places if place[2].queue_place == place[1]]
        self.times = deque([place[0] for place in valid])
        self.sequences = deque([place[1] for place in valid])
        self.entries = deque([place[2] for place in valid])


class DueQueue(Generic[T]):
    """Entries sorted by the time they are due.

    ``len(queue)`` is the number of entries, iteration goes from the earliest to the latest.
    """

    __slots__ = (
        "_heap",
        "_lanes",
        "_length",
        "_on_earlier",
        "_put_off",
        "_put_off_left",
        "_put_off_step",
        "_sequence",
        "_store",
    )

    def __init__(self, on_earlier: Callable[[float], None] | None = None) -> None:
        """Make an empty queue.

        Args:
          on_earlier: is told each time that becomes the earliest, so that a sleeping task can be woken sooner.
        """
        self._heap: list[tuple[float, int, T]] = []
        self._lanes: tuple[_Lane[T], ...] = tuple([_Lane() for _ in range(LANES)])
        self._sequence = 0
        self._length = 0
        # So many entries have been put off since the heap was compacted, and so many more before that is worth it.
        self._put_off = 0
        self._put_off_left = self._put_off_step = _MIN_COMPACTION
        self._on_earlier = on_earlier
        self._store: Store[T] | None = None

    def attach(self, store: Store[T]) -> None:
        """Let *store* keep some of the entries: it tells :meth:`notice` when its first one changes to an earlier time."""
        self._store = store

    def notice(self, time_due: float) -> None:
        """Learn that the store has an entry that is due at *time_due*, and had none that is due earlier."""
        if self._on_earlier is not None and (not self._length or time_due < self._head()[0]):
            self._on_earlier(time_due)

    def __len__(self) -> int:
        return self._length if self._store is None else self._length + len(self._store)

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

    def append(self, entry: T, time_due: float) -> None:
        """Put in an entry that is new here: the same as :meth:`schedule`, quicker for what is due last."""
        for lane in self._lanes:
            times = lane.times
            if times and time_due >= times[-1]:
                # Behind another one: nobody sleeps too long for it.
                entry.queue_time = time_due
                self._length += 1
                self._sequence = entry.queue_place = sequence = self._sequence + 1
                times.append(time_due)
                lane.sequences.append(sequence)
                lane.entries.append(entry)
                return
        self.schedule(entry, time_due)

    def push(self, entry: T, time_due: float) -> None:
        """Put in an entry that is new here, and will probably be put off: the same as :meth:`schedule`.

        It does not get into a lane, whose ends are for what comes in order.
        """
        entry.queue_time = time_due
        self._length += 1
        self._sequence = entry.queue_place = sequence = self._sequence + 1
        heap = self._heap
        heapq.heappush(heap, (time_due, sequence, entry))
        if heap[0][2] is entry and self._on_earlier is not None and self._head()[2] is entry:
            self._on_earlier(time_due)

    def put_off(self, entry: T, time_due: float) -> None:
        """Move an entry to a later time, as :meth:`schedule` does, but let its old place count no more.

        For those that hardly ever stay where they were: the heap has few places then, however many entries there are.
        """
        entry.queue_time = None
        self._length -= 1
        self.append(entry, time_due)
        self._put_off_left -= 1
        if self._put_off_left <= 0:
            self._put_off += self._put_off_step
            if 2 * self._put_off >= len(self._heap):
                self._compact_heap()
                self._put_off = 0
            # As many operations come before the next compaction as it will take.
            self._put_off_left = self._put_off_step = len(self._heap) // 2 - self._put_off + _MIN_COMPACTION

    def discard(self, entry: T) -> None:
        """Take *entry* out, if it is in."""
        if entry.queue_time is None:
            return
        entry.queue_time = None
        entry.queue_place = -1
        self._length -= 1
        if not self._length:
            # Who sleeps has nothing to wait for any more: no stale place may stand before what comes next.
            self._drop_places()
            return
        # What is forgotten is mostly the oldest of its lane: then nothing stale stays behind.
        for lane in self._lanes:
            if lane.entries and lane.entries[0] is entry:
                lane.drop_stale_heads()
                return
        self._compact()

    def earliest(self) -> float:
        """Return the time at which the first entry is due, in seconds; infinity for an empty queue."""
        time_due = self._settled_head()[0] if self._length else math.inf
        return time_due if self._store is None else min(time_due, self._store.earliest())

    def peek(self, now: float = math.inf) -> T | None:
        """Return the first entry, which stays in, if it is due at *now*; else return None."""
        entry: T | None = None
        time_due = math.inf
        if self._length:
            time_due, _, entry = self._settled_head()
        if self._store is not None and self._store.earliest() < time_due and self._store.earliest() <= now:
            first = self._store.first()
            if first is not None and first[0] < time_due:
                time_due, entry = first
        return entry if time_due <= now else None

    def __iter__(self) -> Iterator[T]:
        entries = sorted([entry for _, sequence, entry in self._places() if entry.queue_place == sequence], key=_order)
        timed = [(entry.queue_time or 0.0, entry) for entry in entries]
        if self._store is not None:
            timed.extend(self._store)
            timed.sort(key=operator.itemgetter(0))
        return iter([entry for _, entry in timed])

    def clear(self) -> None:
        """Take out everything."""
        for _, _, entry in self._places():
            entry.queue_time = None
            entry.queue_place = -1
        self._drop_places()
        self._length = 0
        if self._store is not None:
            self._store.clear()

    def _drop_places(self) -> None:
        self._heap.clear()
        for lane in self._lanes:
            lane.clear()

    def _places(self) -> Iterator[tuple[float, int, T]]:
        yield from self._heap
        for lane in self._lanes:
            yield from zip(lane.times, lane.sequences, lane.entries, strict=True)

    def _place(self, entry: T, time_due: float) -> None:
        self._sequence = entry.queue_place = sequence = self._sequence + 1
        # From the last lane on: timers, which stay for a day perhaps, leave the first ones to what is appended.
        for lane in reversed(self._lanes):
            times = lane.times
            if not times or time_due >= times[-1]:
                times.append(time_due)
                lane.sequences.append(sequence)
                lane.entries.append(entry)
                return
        heapq.heappush(self._heap, (time_due, sequence, entry))

    def _head(self) -> tuple[float, int, T]:
        """Return the first place, valid or not; there must be one."""
        heap = self._heap
        time, sequence, entry = heap[0] if heap else (math.inf, 0, None)
        for lane in self._lanes:
            times = lane.times
            if times and (times[0] < time or (times[0] == time and lane.sequences[0] < sequence) or entry is None):
                time, sequence, entry = times[0], lane.sequences[0], lane.entries[0]
        assert entry is not None
        return time, sequence, entry

    def _drop(self, head: tuple[float, int, T]) -> None:
        """Drop the first place, which *head* is."""
        sequence = head[1]
        for lane in self._lanes:
            if lane.sequences and lane.sequences[0] == sequence:
                lane.drop_head()
                return
        heapq.heappop(self._heap)

    def _settled_head(self) -> tuple[float, int, T]:
        """Return the first place that is valid and in time; the queue must not be empty."""
        while True:
            head = self._head()
            time_due, sequence, entry = head
            if entry.queue_place == sequence:
                if entry.queue_time == time_due:
                    return head
                assert entry.queue_time is not None
                self._drop(head)
                self._place(entry, entry.queue_time)
            else:
                self._drop(head)

    def _compact(self) -> None:
        """Drop stale places when they are most of all, so that moving and discarding cannot make the queue grow.

        That costs O(n) after as many operations.  What moved to a later time keeps its place.
        """
        places = len(self._heap)
        for lane in self._lanes:
            places += len(lane.times)
        if places <= 2 * self._length + _MIN_COMPACTION:
            return
        self._compact_heap()
        for lane in self._lanes:
            lane.keep_valid()

    def _compact_heap(self) -> None:
        self._heap = [place for place in self._heap if place[2].queue_place == place[1]]
        heapq.heapify(self._heap)


def _order(entry: Due) -> tuple[float, int]:
    return entry.queue_time or 0.0, entry.queue_place

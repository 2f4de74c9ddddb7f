"""The priority queue of what is due."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tests.messaging.engine import PEER, Server, content, get, make_engine
from trio_coap.messaging.queue import DueQueue
from trio_coap.messaging.timer import Timer


class Entry:
    def __init__(self, name: str = "") -> None:
        self.name = name
        self.queue_time: float | None = None
        self.queue_place = -1


def filled(*times: float) -> tuple[DueQueue[Entry], list[Entry]]:
    queue: DueQueue[Entry] = DueQueue()
    entries = [Entry(f"{index} at {time:g}") for index, time in enumerate(times)]
    for entry, time in zip(entries, times, strict=True):
        queue.schedule(entry, time)
    return queue, entries


def drained(queue: DueQueue[Entry], now: float = math.inf) -> list[Entry]:
    out = []
    while (entry := queue.peek(now)) is not None:
        queue.discard(entry)
        out.append(entry)
    return out


def test_an_empty_queue_has_nothing_due() -> None:
    queue, _ = filled()
    assert queue.earliest() == math.inf
    assert queue.peek() is None
    assert queue.peek(math.inf) is None
    assert len(queue) == 0
    assert list(queue) == []


def test_entries_come_out_by_time() -> None:
    queue, (c, a, b) = filled(3, 1, 2)
    assert list(queue) == [a, b, c]
    assert drained(queue) == [a, b, c]


def test_what_is_due_in_a_day_does_not_stand_before_what_is_appended() -> None:
    queue, (timer,) = filled(86_400)
    first, second = Entry("first"), Entry("second")
    queue.append(first, 145)
    queue.append(second, 146)
    # The first lane takes those, so that a look at it is all that appending costs.
    assert [[*lane.entries] for lane in queue._lanes] == [[], [first, second], [timer]]
    assert drained(queue) == [first, second, timer]


def test_what_is_due_at_one_time_comes_out_as_it_went_in() -> None:
    queue, entries = filled(1, 1, 1, 1)
    assert drained(queue) == entries


def test_only_what_is_due_comes_out() -> None:
    queue, (a, _b) = filled(1, 2)
    assert drained(queue, 1.5) == [a]
    assert queue.earliest() == 2


def test_an_entry_that_came_out_has_no_time() -> None:
    queue, (a,) = filled(1)
    queue.discard(a)
    assert a.queue_time is None
    queue.schedule(a, 5)
    assert queue.peek() is a


def test_an_entry_moves_to_a_later_time() -> None:
    queue, (a, b) = filled(1, 2)
    queue.schedule(a, 3)
    assert list(queue) == [b, a]
    assert queue.earliest() == 2
    assert drained(queue) == [b, a]


def test_an_entry_moves_to_an_earlier_time() -> None:
    queue, (a, b) = filled(1, 2)
    queue.schedule(b, 0.5)
    assert list(queue) == [b, a]
    assert drained(queue) == [b, a]


def test_an_entry_moves_later_and_earlier_again() -> None:
    queue, (a, b) = filled(1, 2)
    queue.schedule(a, 5)
    queue.schedule(a, 1.5)
    assert drained(queue) == [a, b]


def test_an_entry_can_be_taken_out() -> None:
    queue, (a, b, c) = filled(1, 2, 3)
    queue.discard(b)
    assert len(queue) == 2
    assert drained(queue) == [a, c]


def test_taking_out_what_is_not_in_does_nothing() -> None:
    queue, (a,) = filled(1)
    queue.discard(Entry())
    assert drained(queue) == [a]


def test_equal_times_do_not_remove_the_wrong_entry() -> None:
    """CoAPy looked entries up by their time."""
    queue, (a, b, c) = filled(1, 1, 1)
    queue.discard(b)
    assert drained(queue) == [a, c]


def test_clearing_takes_everything_out() -> None:
    queue, entries = filled(1, 2)
    queue.clear()
    assert len(queue) == 0
    assert queue.earliest() == math.inf
    assert [entry.queue_time for entry in entries] == [None, None]


def test_who_sleeps_is_told_of_an_earlier_time_only() -> None:
    told: list[float] = []
    queue: DueQueue[Entry] = DueQueue(told.append)
    for time in (5, 7, 3, 3, 4):
        queue.schedule(Entry(), time)
    assert told == [5, 3]


def test_who_sleeps_is_told_when_an_entry_moves_to_the_front() -> None:
    told: list[float] = []
    queue: DueQueue[Entry] = DueQueue(told.append)
    late = Entry()
    queue.schedule(Entry(), 5)
    queue.schedule(late, 7)
    queue.schedule(late, 1)
    assert told == [5, 1]


def test_moving_does_not_make_the_queue_grow() -> None:
    queue, (a, *_) = filled(1_000_000, *range(1_000_001, 1_000_011))
    for time in range(10_000, 0, -1):
        queue.schedule(a, time)
    assert len(queue) == 11
    assert len(list(queue._places())) < 200
    assert queue.peek() is a


def test_discarding_does_not_leave_places_behind() -> None:
    queue, entries = filled(*range(1000))
    for entry in entries[1:]:
        queue.discard(entry)
    assert len(list(queue._places())) < 200
    assert drained(queue) == entries[:1]


def test_rebuilding_keeps_the_order_and_needs_no_sorting() -> None:
    times = [float(number * 7919 % 1000) for number in range(1000)]
    queue, entries = filled(*times)
    keep = entries[::10]
    for entry in entries:
        if entry not in keep:
            queue.discard(entry)
    assert len(list(queue._places())) < 2 * len(keep) + 70
    assert queue._heap, "what came in no order is a heap still"
    assert drained(queue) == sorted(keep, key=lambda entry: times[entries.index(entry)])


def test_rebuilding_keeps_those_that_moved_to_a_later_time() -> None:
    queue, entries = filled(*range(1000))
    queue.schedule(entries[0], 2000)
    for entry in entries[1:]:
        queue.discard(entry)
    assert queue.earliest() == 2000


def test_ascending_times_need_no_heap() -> None:
    queue, _ = filled(*range(100))
    assert not queue._heap


def test_what_is_put_off_comes_out_at_its_later_time() -> None:
    queue, (other,) = filled(2)
    entry = Entry()
    queue.push(entry, 1)
    assert (queue.earliest(), len(queue)) == (1, 2)
    queue.put_off(entry, 3)
    assert (queue.earliest(), len(queue), entry.queue_time) == (2, 2, 3)
    assert list(queue) == [other, entry]
    assert drained(queue) == [other, entry]


def test_what_is_put_off_leaves_no_place_behind() -> None:
    queue: DueQueue[Entry] = DueQueue()
    entries = [Entry() for _ in range(10_000)]
    for number, entry in enumerate(entries):
        queue.push(entry, number + 2 + number * 7 % 13)
        queue.put_off(entry, number + 100_000)
        assert len(queue._heap) < 100
    assert queue.earliest() == 100_000
    assert drained(queue) == entries


def test_a_large_heap_is_not_gone_through_for_the_few_that_are_put_off() -> None:
    """With a million that wait for their acknowledgement, one more request must not cost more than with ten."""
    queue, entries = DueQueue[Entry](), [Entry(str(number)) for number in range(10_000)]
    for entry in entries:
        queue.push(entry, 5.0)
    heap = queue._heap
    for entry in entries[:4_900]:
        queue.put_off(entry, 100.0)
    assert queue._heap is heap
    for entry in entries[4_900:6_000]:
        queue.put_off(entry, 100.0)
    assert len(queue._heap) < 6_000, "when most of its places are stale, they go"
    assert queue._heap is not heap


def test_who_sleeps_is_told_of_what_is_pushed_to_the_front() -> None:
    told: list[float] = []
    queue: DueQueue[Entry] = DueQueue(told.append)
    queue.schedule(Entry(), 4)
    for time in (5, 7, 3, 6):
        queue.push(Entry(), time)
    assert told == [4, 3]


def test_who_sleeps_for_ever_is_told_although_the_last_one_that_was_taken_out_had_moved() -> None:
    told: list[float] = []
    queue: DueQueue[Entry] = DueQueue(told.append)
    moved = Entry()
    queue.schedule(moved, 10)
    queue.schedule(moved, 5)
    queue.discard(moved)
    assert queue.earliest() == math.inf
    told.clear()
    queue.append(Entry(), 7)
    assert told == [7]


def test_who_sleeps_for_ever_is_told_although_the_last_one_that_was_taken_out_was_put_off() -> None:
    told: list[float] = []
    queue: DueQueue[Entry] = DueQueue(told.append)
    put_off = Entry()
    queue.push(put_off, 2)
    queue.put_off(put_off, 247)
    queue.discard(put_off)
    assert queue.earliest() == math.inf
    told.clear()
    queue.push(Entry(), 4)
    assert told == [4]


@given(
    st.lists(
        st.tuples(st.sampled_from(("push", "put off", "schedule", "discard")), st.integers(0, 9), st.integers(0, 50))
    )
)
def test_whatever_is_done_entries_come_out_by_time(steps: list[tuple[str, int, int]]) -> None:
    queue: DueQueue[Entry] = DueQueue()
    entries = [Entry(str(number)) for number in range(10)]
    for step, number, time in steps:
        entry = entries[number]
        if step == "discard":
            queue.discard(entry)
        elif step == "schedule":
            queue.schedule(entry, time)
        elif entry.queue_time is None:
            queue.push(entry, time)
        elif step == "put off":
            queue.put_off(entry, entry.queue_time + time)
    expected = sorted([entry.queue_time for entry in entries if entry.queue_time is not None])
    assert len(queue) == len(list(queue)) == len(expected)
    times = []
    while (due := queue.peek()) is not None:
        times.append(due.queue_time)
        queue.discard(due)
    assert times == expected


def test_timers_stand_among_what_a_store_keeps() -> None:
    engine = make_engine()
    engine.request_listener = Server(content())
    timers = [Timer(engine.queue, lambda now: None) for _ in range(2)]
    engine.hear(get(message_id=1), PEER)
    for timer, time_due in zip(timers, (300.0, 100.0), strict=True):
        timer.start(time_due)
    (entry,) = engine.state_of(PEER).rcvd_cache.values()
    first, second, third = engine.queue
    assert (first, third) == (timers[1], timers[0])
    assert second.message_id == entry.message_id  # type: ignore[union-attr]

"""Whatever is done to caches that share a queue: mapping, queue and FIFO agree with a simple model."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from tests.messaging.engine import OTHER, PEER, get
from trio_coap.messaging.cache import MessageCache, MessageCacheEntry
from trio_coap.messaging.queue import DueQueue
from trio_coap.wire.codes import CON

# Few times and IDs, so that ties and collisions are the rule.
times = st.integers(0, 12).map(float) | st.just(math.inf)
message_ids = st.integers(0, 40)


class CacheMachine(RuleBasedStateMachine):
    """Two caches, one queue, and lists that say what should be in them.

    Attributes:
      mapped: what each cache should have by message ID.
      fifos: what each cache should have as pending, in order.
      due: when each entry in the queue should be due.
      told: the earliest time that a sleeping task would know of.
    """

    entries = Bundle("entries")

    @initialize()
    def make_caches(self) -> None:
        self.told = math.inf
        self.queue: DueQueue[MessageCacheEntry] = DueQueue(self._be_told)
        self.caches: list[MessageCache[MessageCacheEntry]] = [
            MessageCache(PEER, True, queue=self.queue),
            MessageCache(OTHER, False, queue=self.queue),
        ]
        self.mapped: list[dict[int, MessageCacheEntry]] = [{}, {}]
        self.fifos: list[list[MessageCacheEntry]] = [[], []]
        self.due: dict[MessageCacheEntry, float] = {}

    def _be_told(self, time_due: float) -> None:
        self.told = min(self.told, time_due)

    def _number_of(self, entry: MessageCacheEntry) -> int | None:
        return None if entry.cache is None else self.caches.index(entry.cache)

    def _forget(self, number: int, entry: MessageCacheEntry) -> None:
        if entry.message_id is not None:
            del self.mapped[number][entry.message_id]
        if entry in self.fifos[number]:
            self.fifos[number].remove(entry)
        self.due.pop(entry, None)

    def _free_id(self, number: int, wanted: int) -> int:
        return next(wanted + step for step in range(1000) if wanted + step not in self.mapped[number])

    @rule(target=entries, number=st.integers(0, 1), message_id=message_ids, time=times)
    def add_active(self, number: int, message_id: int, time: float) -> MessageCacheEntry:
        message_id = self._free_id(number, message_id)
        message = get(type=CON, message_id=message_id)
        entry = MessageCacheEntry(self.caches[number], message, 0.0, time_due_offset=time)
        self.mapped[number][message_id] = entry
        self.due[entry] = time
        return entry

    @rule(target=entries, number=st.integers(0, 1), message_id=message_ids | st.none())
    def add_pending(self, number: int, message_id: int | None) -> MessageCacheEntry:
        if message_id is not None:
            message_id = self._free_id(number, message_id)
        entry = MessageCacheEntry(self.caches[number], get(message_id=message_id), 0.0, activate=False)
        if message_id is not None:
            self.mapped[number][message_id] = entry
        self.fifos[number].append(entry)
        return entry

    @rule(entry=entries, message_id=message_ids)
    def give_a_message_id(self, entry: MessageCacheEntry, message_id: int) -> None:
        number = self._number_of(entry)
        if number is not None and entry.message_id is None:
            message_id = self._free_id(number, message_id)
            self.caches[number].number(entry, message_id)
            self.mapped[number][message_id] = entry

    @rule(entry=entries, time=times)
    def activate_or_move(self, entry: MessageCacheEntry, time: float) -> None:
        number = self._number_of(entry)
        if number is None or entry.message_id is None:
            return  # What waits for its message ID cannot go out.
        entry.time_due = time
        if entry in self.fifos[number]:
            self.fifos[number].remove(entry)
        self.due[entry] = time

    @rule(entry=consumes(entries))
    def remove(self, entry: MessageCacheEntry) -> None:
        number = self._number_of(entry)
        if number is not None:
            self._forget(number, entry)
            self.caches[number]._remove(entry)

    @rule(number=st.integers(0, 1))
    @precondition(lambda self: len(self.due) > 8)
    def clear(self, number: int) -> None:
        for entry in self.caches[number].all_entries():
            self._forget(number, entry)
        self.caches[number].clear()

    @rule(now=times, time=times)
    def take_what_is_due_out_and_put_it_back(self, now: float, time: float) -> None:
        entry = self.queue.peek(now)
        earliest = min(self.due.values(), default=math.inf)
        if entry is None:
            assert not self.due or earliest > now
            return
        assert self.due[entry] == earliest <= now
        self.queue.discard(entry)
        self.queue.schedule(entry, time)
        self.due[entry] = time

    @rule(now=times)
    def process_what_is_due(self, now: float) -> None:
        while (entry := self.queue.peek(now)) is not None:
            assert self.due[entry] == min(self.due.values()) <= now
            number = self._number_of(entry)
            assert number is not None
            self._forget(number, entry)
            self.caches[number]._remove(entry)
        self.told = self.queue.earliest()

    @invariant()
    def the_mapping_agrees(self) -> None:
        for cache, mapped, fifo in zip(self.caches, self.mapped, self.fifos, strict=True):
            assert dict(cache.items()) == mapped
            assert len(cache) == len(mapped) + sum(entry.message_id is None for entry in fifo)
            assert bool(cache) is bool(mapped or fifo)
            assert all(cache[message_id] is entry for message_id, entry in mapped.items())
            assert set(cache.all_entries()) == {*mapped.values(), *fifo}

    @invariant()
    def the_fifo_agrees(self) -> None:
        for cache, fifo in zip(self.caches, self.fifos, strict=True):
            assert list(cache.pending()) == fifo
            assert all(entry.time_due is None for entry in fifo)

    @invariant()
    def the_queue_agrees(self) -> None:
        inside = list(self.queue)
        assert len(self.queue) == len(inside) == len(set(inside))
        assert {entry: entry.time_due for entry in inside} == self.due
        assert [entry.time_due for entry in inside] == sorted(self.due.values())
        assert self.queue.earliest() == min(self.due.values(), default=math.inf)

    @invariant()
    def who_sleeps_does_not_sleep_too_long(self) -> None:
        assert self.told <= self.queue.earliest()


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

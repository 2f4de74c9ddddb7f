"""What one entry costs in a MessageCache of ten to a million entries: adding, moving and removing it.

The operations are timed in batches on a cache of the given size, the sizes in alternation, so that noise hits them all; shown are
medians of the rounds, in microseconds for one operation.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable

from trio_coap.messaging.cache import MessageCache, MessageCacheEntry
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.codes import CON
from trio_coap.wire.message import Message

SIZES = (10, 1_000, 10_000, 100_000, 1_000_000)
BATCH = 1_000
ROUNDS = 15
LIFETIME = 247.0


class BenchEntry(MessageCacheEntry):
    """An entry that does nothing when it is due."""

    def process_timeout(self, now: float) -> None:
        """Do nothing."""


class BenchCache:
    """A cache of one size, with operations that leave it at that size."""

    def __init__(self, size: int) -> None:
        """Fill it: entries of random due times over one lifetime."""
        self.size = size
        self.rng = random.Random(size)
        self.cache: MessageCache[BenchEntry] = MessageCache(Endpoint(host="192.0.2.1"), False)
        self.next_id = 0
        self.now = 0.0
        for _ in range(size):
            self.make(self.rng.uniform(0, LIFETIME))

    def make(self, offset: float) -> BenchEntry:
        """Add one entry that is due in *offset* seconds."""
        self.next_id += 1
        message = Message(type=CON, message_id=self.next_id % 0x10000)
        message.message_id = self.next_id  # A million entries in one mapping: more IDs than the wire has.
        return BenchEntry(self.cache, message, self.now, time_due_offset=offset)

    def measure(self) -> dict[str, float]:
        """Return the cost of each operation, in microseconds."""
        rng, cache, now = self.rng, self.cache, self.now
        offsets = [rng.uniform(0, LIFETIME) for _ in range(BATCH)]
        costs = {}
        messages = []
        for _ in range(BATCH):
            self.next_id += 1
            messages.append(Message(type=CON, message_id=0))
            messages[-1].message_id = self.next_id
        added: list[BenchEntry] = []

        def add() -> None:
            for message, offset in zip(messages, offsets, strict=True):
                added.append(BenchEntry(cache, message, now, time_due_offset=offset))

        def move_earlier() -> None:
            for entry, offset in zip(added, offsets, strict=True):
                entry.time_due = now + offset / 2

        def move_later() -> None:
            for entry in added:
                entry.time_due = now + LIFETIME

        def remove() -> None:
            for entry in added:
                cache._remove(entry)

        costs["add, due at a random time"] = _time(add)
        costs["move earlier"] = _time(move_earlier)
        costs["move later"] = _time(move_later)
        costs["remove"] = _time(remove)

        def add_last() -> None:
            for message in messages:
                BenchEntry(cache, message, now, time_due_offset=LIFETIME)

        def expire() -> None:
            queue = cache.queue()
            for _ in range(BATCH):
                entry = queue.peek(self.now + 2 * LIFETIME)
                if entry is not None:
                    cache._remove(entry)

        costs["add, due last"] = _time(add_last)
        costs["take the earliest out"] = _time(expire)
        return costs


def _time(operation: Callable[[], None]) -> float:
    started_at = time.perf_counter()
    operation()
    return (time.perf_counter() - started_at) / BATCH * 1e6


def main() -> None:
    """Measure and print a table."""
    caches = [BenchCache(size) for size in SIZES]
    rounds: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    gc.collect()
    gc.disable()
    for _ in range(ROUNDS):
        for each in caches:
            rounds[each.size].append(each.measure())
    gc.enable()
    print(f"MessageCache: microseconds for one operation, medians of {ROUNDS} rounds of {BATCH}")
    print(f"{'operation':<28}" + "".join(f"{size:>12,}" for size in SIZES) + f"{'million/ten':>14}")
    for name in rounds[SIZES[0]][0]:
        medians = [statistics.median(measured[name] for measured in rounds[size]) for size in SIZES]
        shown = "".join(f"{median:>12.2f}" for median in medians)
        print(f"{name:<28}{shown}{medians[-1] / medians[0]:>14.1f}")

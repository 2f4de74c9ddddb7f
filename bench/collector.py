"""What Python's garbage collector does to a server while its memory of exchanges fills, is full, and empties.

Exchanges come as fast as the engine takes them, from many remotes, and then all expire.  ``gc.callbacks`` tell when each
collection begins and ends; between the requests the longest answer is looked for.  There is no socket: who measures that is
:mod:`bench.stalls`.
"""

from __future__ import annotations

import gc
import sys
import time

import attrs
import trio

from bench.children import python, running
from bench.engine import UNLIMITED, get, open_silent_server, plain_site, remotes
from bench.rounds import Benchmark, Contestant, Goal, Measure
from bench.stages import LIFETIME, PER_REMOTE
from trio_coap.messaging.parameters import DEFAULT_LIMITS

OLDEST = 2
"""The generation of a full collection."""

LONGEST_PAUSE = Measure("longest collection", "ms")
LONGEST_ANSWER = Measure("longest answer", "ms")
FULL = Measure("full collections", "", is_compared=False)
WALKED = Measure("objects in the fullest", "", is_compared=False)
SHARE = Measure("share of time in collections", "%", is_compared=False)
EXPIRY = Measure("longest expiry", "ms", is_compared=False)


@attrs.define(eq=False)
class Collections:
    """What the collector has done."""

    longest: float = 0.0
    """In seconds."""

    total: float = 0.0
    """Likewise."""

    full: int = 0
    """How many collections of all generations there were."""

    walked: int = 0
    """Objects that the collector knew at the end of the fullest one."""

    _started_at: float = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """See :data:`gc.callbacks`."""
        if phase == "start":
            self._started_at = time.perf_counter()
            return
        elapsed = time.perf_counter() - self._started_at
        self.longest = max(self.longest, elapsed)
        self.total += elapsed
        if info["generation"] == OLDEST:
            self.full += 1


async def fill(exchanges: int, is_limited: bool) -> dict[str, float]:
    """Let exchanges come and expire, and return what the collector did.

    Args:
      exchanges: how many.
      is_limited: whether the endpoint has its usual limits; otherwise it remembers them all.
    """
    collections = Collections()
    longest_answer = longest_expiry = 0.0
    sources = remotes(-(-exchanges // PER_REMOTE) * 4)
    limits = DEFAULT_LIMITS if is_limited else UNLIMITED
    async with open_silent_server(plain_site(), limits=limits) as endpoint:
        gc.collect()
        gc.callbacks.append(collections)
        started_at = time.perf_counter()
        pause = LIFETIME / exchanges / 2
        for number in range(exchanges):
            message_id, source = divmod(number, len(sources))
            data = get(message_id)
            before = time.perf_counter()
            endpoint.now += pause
            endpoint.datagram_received(data, sources[source], endpoint.now)
            longest_answer = max(longest_answer, time.perf_counter() - before)
        # In the meantime, that is what a full collection has to walk.
        collections.walked = len(gc.get_objects())
        while endpoint.queue.earliest() <= endpoint.now + LIFETIME:
            before = time.perf_counter()
            endpoint.process_due(endpoint.now + LIFETIME)
            longest_expiry = max(longest_expiry, time.perf_counter() - before)
        elapsed = time.perf_counter() - started_at
        gc.callbacks.remove(collections)
    return {
        LONGEST_ANSWER.name: longest_answer * 1e3,
        LONGEST_PAUSE.name: collections.longest * 1e3,
        EXPIRY.name: longest_expiry * 1e3,
        FULL.name: float(collections.full),
        WALKED.name: float(collections.walked),
        SHARE.name: collections.total / elapsed * 100,
    }


def fill_elsewhere(exchanges: int, is_limited: bool) -> dict[str, float]:
    """Do the same in a process of its own."""
    with running(python("collector", exchanges, int(is_limited))) as child:
        return {name: float(figure) for name, _, figure in (each.partition("=") for each in child.read().split(";"))}


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    exchanges = 400_000 if is_full else 50_000
    contestants: dict[str, Contestant] = {
        "all remembered": lambda: fill_elsewhere(exchanges, is_limited=False),
        "the usual limits": lambda: fill_elsewhere(exchanges, is_limited=True),
    }
    due, moonshot, limit = (80, 40, 36) if is_full else (None, None, None)
    return [
        Benchmark(
            "collector",
            f"The garbage collector while {exchanges:,} exchanges come and expire",
            (LONGEST_ANSWER, LONGEST_PAUSE, EXPIRY, FULL, WALKED, SHARE),
            contestants,
            goals=(
                Goal(
                    f"longest answer in process, {exchanges:,} exchanges, all remembered",
                    "all remembered",
                    None,
                    LONGEST_ANSWER.name,
                    due,
                    moonshot,
                    limit,
                ),
                Goal(
                    f"longest answer in process, {exchanges:,} exchanges, the usual limits",
                    "the usual limits",
                    None,
                    LONGEST_ANSWER.name,
                    due,
                    moonshot,
                    limit,
                ),
            ),
            notes=(
                "In process, without a socket, real time: what else the machine does shows too.",
                "longest expiry: of one call that does what is due, 1,000 entries at most.",
                f"the usual limits: {DEFAULT_LIMITS.max_remembered:,} exchanges are remembered.",
            ),
            rounds=3 if is_full else 1,
        )
    ]


if __name__ == "__main__":
    figures = trio.run(fill, int(sys.argv[1]), bool(int(sys.argv[2])))
    print(";".join(f"{name}={figure}" for name, figure in figures.items()))

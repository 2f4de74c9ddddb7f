"""What many exchanges cost: the longest answer while they come, and a request when they are remembered.

Every exchange is remembered for EXCHANGE_LIFETIME (:rfc:`7252` section 4.5), unless a limit says otherwise.  A garbage collector that
walks all that is remembered shows as one answer that takes long; a table whose cost grows shows as CPU time per request.
"""

from __future__ import annotations

from functools import partial

from bench.load import generate
from bench.rounds import Benchmark, Goal, Measure
from bench.servers import AIOCOAP, ECHO, LIMIT, NODE, OURS, Program, ours, running

FULL_EXCHANGES = 400_000
QUICK_EXCHANGES = 60_000
PEER_EXCHANGES = 100_000
"""For who is slower, or takes 10 kB for each."""

OUTSTANDING = 16
MANY = 1_000_000
QUICK_MANY = 100_000
SAMPLE = 20_000
"""Requests that are measured on top of those remembered."""

LIFETIME = 4.0
"""Seconds after which exchanges are forgotten, where their end is to be measured too."""

STALL_MEASURES = [
    Measure("longest answer", "ms"),
    Measure("exchanges", "in all", is_higher_better=True, is_compared=False),
    Measure("rate", "1/s", is_higher_better=True, is_compared=False),
]

REMEMBERED_MEASURES = [
    Measure("CPU per request", "µs"),
    Measure("rate", "1/s", is_higher_better=True),
    Measure("longest answer", "ms", is_compared=False),
]


def stall(program: Program, exchanges: int) -> dict[str, float]:
    """Send so many requests to a fresh server, and return the longest answer."""
    with running(program) as server:
        seen = generate(server.port, pid=server.pid, outstanding=OUTSTANDING, requests=exchanges).require_good()
        return {"longest answer": seen.longest_ms, "exchanges": exchanges, "rate": seen.rate}


def with_remembered(program: Program, remembered: int) -> dict[str, float]:
    """Return what a request costs a server that remembers so many exchanges."""
    with running(program) as server:
        # Not fewer than its warm-up; all from one process, so that no port and message ID comes twice.
        seen = generate(
            server.port,
            pid=server.pid,
            outstanding=OUTSTANDING,
            requests=SAMPLE,
            warmup=max(remembered, program.warmup),
        ).require_good()
        return {"CPU per request": seen.cpu_per_request, "rate": seen.rate, "longest answer": seen.longest_ms}


def _stalls(is_full: bool) -> Benchmark:
    exchanges, others = (FULL_EXCHANGES, PEER_EXCHANGES) if is_full else (QUICK_EXCHANGES, QUICK_EXCHANGES // 6)
    everything = ours("ours, all remembered", remember=2 * FULL_EXCHANGES)
    ending = ours(f"ours, for {LIFETIME:.0f} s each", remember=2 * FULL_EXCHANGES, lifetime=LIFETIME)
    programs = {OURS: exchanges, AIOCOAP: others, LIMIT: exchanges, ECHO: exchanges}
    if is_full:
        programs |= {everything: exchanges, ending: exchanges, NODE: others}
    text = f"longest answer while {exchanges:,} exchanges come"
    return Benchmark(
        "stalls",
        "Stalls",
        STALL_MEASURES,
        {program.name: partial(stall, program, number) for program, number in programs.items()},
        "aiocoap",
        "limit",
        [
            Goal(text, "ours", due=80, moonshot=40),
            *([Goal(f"{text}, and all are remembered", everything.name, due=80, moonshot=40)] if is_full else []),
        ],
        [
            "Servers fresh from their start; those that are slow or need much memory get fewer exchanges, as the column says.  By "
            "default ours remembers a bounded number, and forgets the oldest beyond it.  C echo remembers nothing: its longest answer is "
            "the machine's own doing.",
        ],
        rounds=3 if is_full else 1,
    )


def _remembered(is_full: bool) -> Benchmark:
    sizes = (0, 10_000, 100_000, MANY) if is_full else (0, QUICK_MANY)
    program = ours("ours", remember=2 * MANY)
    goals = [
        Goal(
            f"a request with {sizes[-1]:,} remembered exchanges against one with none: {what}",
            f"{sizes[-1]:,}",
            "none",
            measure,
            due=0.9,
            moonshot=1,
        )
        for measure, what in (("CPU per request", "CPU time"), ("rate", "rate"))
    ]
    return Benchmark(
        "remembered",
        "A request, by the number of remembered exchanges",
        REMEMBERED_MEASURES,
        {f"{size:,}" if size else "none": partial(with_remembered, program, size) for size in sizes},
        "none",
        goals=goals,
        notes=[
            f"Averages over {SAMPLE:,} requests to a server of ours with raised limits; they are remembered too.  "
            "1 means the same cost."
        ],
        rounds=3 if is_full else 2,
    )


def benchmarks(is_full: bool) -> list[Benchmark]:
    """Return the benchmarks of this module."""
    return [_stalls(is_full), _remembered(is_full)]

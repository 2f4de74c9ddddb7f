"""Requests per second and CPU time per request, of servers of ours and of others (speed of :rfc:`7252` itself).

A round of a contestant starts its server, and sends it requests at each number outstanding, one after the other.
"""

from __future__ import annotations

from bench.load import Load, generate
from bench.rounds import Benchmark, Contestant, Goal, Measure
from bench.servers import (
    AIOCOAP,
    ECHO,
    LIBCOAP_SERVER,
    LIMIT,
    LIMIT_TASK,
    NODE,
    OURS,
    OURS_ANYWHERE,
    OURS_TASK,
    Program,
    before,
    running,
)

QUICK_SECONDS = 0.4
FULL_SECONDS = 2.0
MEASURES = [
    Measure("16 outstanding", "1/s", is_higher_better=True),
    Measure("CPU per request", "µs"),
    Measure("1 outstanding", "1/s", is_higher_better=True),
    Measure("64 outstanding", "1/s", is_higher_better=True),
    Measure("16 outstanding, NON", "1/s", is_higher_better=True),
    Measure("longest answer at 16", "ms", is_compared=False),
    Measure("CPU of the server at 16", "%", is_compared=False),
    Measure("CPU of the generator at 16", "%", is_compared=False),
]

NOTES = [
    "CON GET, except where NON is said, answered with 11 octets, piggybacked; CPU time is at 16 outstanding.",
    "The servers have one core, the load generator the other; where the server's is far below 100 % "
    "at 16 outstanding, somebody else had the cores, and the rates say little.  C echo shows what the generator can do: where its own CPU time nears "
    "100 %, or a figure nears that of C echo, the generator is what was measured.",
    "ours, on :: listens on all addresses, which is what a server does that is given none; the others listen on one.",
    "libcoap recognizes no duplicates; limit is a server written by hand on the same socket calls, without limits, statistics and "
    "checks of others; limit, task is the same with a task per request.",
]

GOALS = [
    Goal("server, plain handler, 16 outstanding: times aiocoap", "ours", "aiocoap", due=10, moonshot=16),
    Goal("... times node-coap", "ours", "node-coap", due=1.5, moonshot=2.4),
    Goal("... times libcoap's coap-server", "ours", "libcoap", due=0.42, moonshot=0.65),
    Goal("... CPU per request", "ours", measure="CPU per request", due=20, moonshot=14),
    Goal("... CPU per request: times aiocoap", "ours", "aiocoap", measure="CPU per request"),
    Goal("server, 64 outstanding: times aiocoap", "ours", "aiocoap", measure="64 outstanding"),
    Goal("server, 1 outstanding: times aiocoap", "ours", "aiocoap", measure="1 outstanding", due=6, moonshot=8),
    Goal(
        "server, async def handler in a task, 16 outstanding: times aiocoap",
        "ours, task",
        "aiocoap",
        due=7,
        moonshot=10,
        limit="limit, task",
    ),
]


def measure(program: Program, seconds: float) -> dict[str, float]:
    """Run one round of a server.

    Raises:
      Skipped: if it, or the load generator, is not there.
      RuntimeError: if an answer was wrong.
    """
    with running(program) as server:

        def load(outstanding: int, type: str = "CON") -> Load:
            seen = generate(server.port, pid=server.pid, outstanding=outstanding, type=type, seconds=seconds)
            return seen.require_good()

        generate(server.port, outstanding=16, requests=program.warmup)
        at_16 = load(16)
        return {
            "16 outstanding": at_16.rate,
            "CPU per request": at_16.cpu_per_request,
            "1 outstanding": load(1).rate,
            "64 outstanding": load(64).rate,
            "16 outstanding, NON": load(16, "NON").rate,
            "longest answer at 16": at_16.longest_ms,
            "CPU of the server at 16": 100 * at_16.server_cpu / at_16.seconds,
            "CPU of the generator at 16": 100 * at_16.own_cpu_share,
        }


def benchmarks(is_full: bool) -> list[Benchmark]:
    """Return the benchmarks of this module."""
    seconds = FULL_SECONDS if is_full else QUICK_SECONDS
    programs, goals = [OURS, AIOCOAP, OURS_TASK, OURS_ANYWHERE, NODE, LIBCOAP_SERVER, LIMIT, LIMIT_TASK, ECHO], GOALS
    if earlier := before():
        programs.insert(1, earlier)
        goals = [*GOALS, *_goals_against(earlier)]

    def contestant(program: Program) -> Contestant:
        return lambda: measure(program, seconds)

    contestants = {program.name: contestant(program) for program in programs}
    return [Benchmark("server", "Servers", MEASURES, contestants, "aiocoap", "limit", goals, NOTES)]


def _goals_against(earlier: Program) -> list[Goal]:
    return [
        Goal(f"ours, {measure.name}: times the state before", OURS.name, earlier.name, measure.name)
        for measure in MEASURES
        if measure.is_compared
    ]

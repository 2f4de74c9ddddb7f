"""How much memory one remembered exchange takes (:rfc:`7252` section 4.5).

Servers get distinct requests over their sockets from the load generator, and the growth of their resident memory is divided by the
number of requests: that is what an operator sees.  What of it are objects of Python, tracemalloc says, for this package, in a
process of its own without a socket.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from pathlib import Path

import trio

from bench.children import python, running
from bench.engine import open_silent_server, plain_site
from bench.load import generate
from bench.rounds import Benchmark, Contestant, Goal, Measure, Skipped
from bench.servers import AIOCOAP, LIBCOAP_SERVER, LIMIT, NODE, Program, ours
from bench.servers import running as serving
from bench.stages import Traffic

WARMUP = 5_000
"""Exchanges before the first look at the memory: by then all code has run."""

PER_SOCKET = 25_000
OUTSTANDING = 16

RESIDENT = Measure("resident memory", "octets")
TRACED = Measure("tracemalloc", "octets")


def resident(pid: int) -> int:
    """Return the resident memory of a process, in octets.

    Raises:
      Skipped: if the system does not say.
    """
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        raise Skipped("the system does not tell the memory of a process") from None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def grown_by(program: Program, exchanges: int) -> float:
    """Return by how many octets a server's memory grows with each exchange."""
    with serving(program) as server:
        generate(server.port, requests=WARMUP, outstanding=OUTSTANDING).require_good()
        before = resident(server.pid)
        sockets = -(-exchanges // PER_SOCKET)
        generate(server.port, requests=exchanges, outstanding=OUTSTANDING, sockets=sockets).require_good()
        return (resident(server.pid) - before) / exchanges


async def traced(exchanges: int, remotes: int) -> float:
    """Return how many octets of Python's objects there are more for each exchange, with so many remotes."""
    async with open_silent_server(plain_site()) as endpoint:
        Traffic(endpoint, 100)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        Traffic(endpoint, exchanges, remotes)
        gc.collect()
        octets = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return octets / exchanges


def traced_elsewhere(exchanges: int, remotes: int) -> float:
    """Return the same, measured in a process of its own."""
    with running(python("memory", exchanges, remotes)) as child:
        return float(child.read())


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    exchanges = 100_000 if is_full else 10_000
    of_ours = ours("ours", remember=10 * exchanges)
    programs = {"ours": of_ours, "aiocoap": AIOCOAP, "node-coap": NODE, "libcoap": LIBCOAP_SERVER, "limit": LIMIT}
    contestants: dict[str, Contestant] = {
        name: lambda program=program: {RESIDENT.name: grown_by(program, exchanges)}  # type: ignore[misc]
        for name, program in programs.items()
    }
    contestants["ours"] = lambda: {
        RESIDENT.name: grown_by(of_ours, exchanges),
        TRACED.name: traced_elsewhere(exchanges, -(-exchanges // PER_SOCKET)),
    }
    contestants["ours, a remote each"] = lambda: {TRACED.name: traced_elsewhere(exchanges, exchanges)}
    return [
        Benchmark(
            "memory",
            "Memory for one remembered exchange",
            (RESIDENT, TRACED),
            contestants,
            reference="aiocoap",
            limit="limit",
            goals=(Goal("memory for one remembered exchange", "ours", None, RESIDENT.name, 700, 450),),
            notes=(
                f"{exchanges:,} exchanges, a remote for each {PER_SOCKET:,}; where each exchange has another remote, the state of "
                "that one and its endpoint are part of it.",
                "libcoap remembers no exchanges.",
            ),
            rounds=2 if is_full else 1,
        )
    ]


if __name__ == "__main__":
    print(trio.run(traced, int(sys.argv[1]), int(sys.argv[2])))

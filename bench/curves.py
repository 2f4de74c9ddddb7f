"""How the cost of a request grows with what the server has to remember.

==============  ========================================================================================================
curve           what there are N of, while a GET of another resource is answered, unless it says otherwise
==============  ========================================================================================================
exchanges       remembered exchanges; each request is remembered too, and the oldest exchange expires with it
remotes         remote endpoints, with two exchanges each; the requests come from them in turn
observers       observers of other resources
outstanding     requests of our own that nobody has answered yet
asking          the same, and what is measured is one more request of our own and its response
resources       resources in the site, which are asked for in turn
handlers        handler tasks that run for the remote that sends the requests; there are 250 at most by default
groups          remotes, with two exchanges each; what is measured is a request to a group
changes         observers of one template, each of another path; what is measured is a change of one path
==============  ========================================================================================================

Rule 1: the engine, the dispatcher and the site are the real ones; limits that would stop the growth are raised, and there is no
socket.  Rule 2: each size is a process of its own, which keeps what it has for all rounds, until another curve has its turn.
Rule 3: processor time counts, garbage collection included.
"""

from __future__ import annotations

import atexit
import sys
from functools import partial

import attrs
import trio

from bench.children import MEASURED, Child, python
from bench.rounds import Benchmark, Contestant, Goal, Measure
from bench.stages import (
    Measured,
    Stage,
    open_asking,
    open_changes,
    open_exchanges,
    open_groups,
    open_handlers,
    open_observers,
    open_outstanding,
    open_remotes,
    open_resources,
)

SIZES = (10, 100, 1_000, 10_000, 100_000, 300_000, 1_000_000)
QUICK_SIZES = (10, 10_000)

FILLING = 1200.0
"""Seconds for filling the largest table, on a slow machine."""

OPERATIONS = 2_000
"""In one measurement."""

LONGEST = 0.5
"""Seconds for one measurement: what costs a lot is done less often."""

COST = Measure("CPU for one", "µs")


@attrs.frozen
class Curve:
    """One curve."""

    title: str
    stage: Stage
    largest: int
    """The largest size: what 3 GB hold, or what is asked for."""

    due: float | None = 0.5
    """How many times as good the largest must be as the smallest: O(log n) with a small share, or a constant."""


CURVES = {
    "exchanges": Curve("A request with N remembered exchanges", open_exchanges, 1_000_000, 1 / 1.1),
    "remotes": Curve("A request with N remotes, from each in turn", open_remotes, 300_000),
    "observers": Curve("A request with N observers of other resources", open_observers, 300_000),
    "outstanding": Curve("A request with N unanswered requests of our own", open_outstanding, 1_000_000),
    "asking": Curve("One more request of our own, with N unanswered", open_asking, 1_000_000),
    "resources": Curve("A request with N resources in the site, for each in turn", open_resources, 1_000_000),
    "handlers": Curve("A request with N handlers that run for its sender", open_handlers, 10_000),
    "groups": Curve("A request to a group, with N remotes", open_groups, 100_000),
    "changes": Curve("A change of one of N observed paths", open_changes, 100_000),
}


class Workers:
    """The processes of one curve, by size."""

    def __init__(self) -> None:
        """Start none."""
        self._curve = ""
        self._children: dict[int, Child] = {}

    def measure(self, curve: str, size: int, count: int) -> float:
        """Return what one operation costs, in microseconds; a process that is not there yet is started."""
        if curve != self._curve:
            self.end()
            self._curve = curve
        child = self._children.get(size)
        if child is None:
            child = self._children[size] = Child(python("curves", curve, size), MEASURED)
            child.read(FILLING)
        return float(child.ask(str(count)))

    def end(self) -> None:
        """End all."""
        for child in self._children.values():
            child.end()
        self._children.clear()


_workers = Workers()
atexit.register(_workers.end)


def make_benchmark(name: str, sizes: tuple[int, ...], rounds: int) -> Benchmark:
    """Return the benchmark of one curve, the contestants of which are sizes."""
    curve = CURVES[name]
    shown = {f"{size:,}": size for size in sizes if size <= curve.largest}
    first, last = next(iter(shown)), next(reversed(shown))
    contestants: dict[str, Contestant] = {
        text: partial(_workers.measure, name, size, OPERATIONS) for text, size in shown.items()
    }
    moonshot = 1.0 if name == "exchanges" else None
    return Benchmark(
        f"curve-{name}",
        curve.title,
        (COST,),
        contestants,
        reference=first,
        goals=(Goal(f"{curve.title}: {last} against {first}", last, first, due=curve.due, moonshot=moonshot),),
        notes=("In process, without a socket; limits are raised. Less than 1 is worse than the first row.",),
        rounds=rounds,
    )


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    sizes, rounds = (SIZES, 5) if is_full else (QUICK_SIZES, 3)
    return [make_benchmark(name, sizes, rounds) for name in CURVES]


def measure_within(measured: Measured, count: int) -> float:
    """Return what one operation costs, of *count*, or of fewer if these would take too long."""
    first = measured(max(1, count // 100))
    return measured(max(1, min(count, int(LONGEST * 1e6 / first))))


async def work(curve: str, size: int) -> None:
    """Fill a server, say so, and measure as often as asked."""
    async with CURVES[curve].stage(size) as measured:
        print("filled", flush=True)
        for line in sys.stdin:  # It blocks, and there is nobody whom that keeps waiting.
            print(measure_within(measured, int(line)), flush=True)


if __name__ == "__main__":
    trio.run(work, sys.argv[1], int(sys.argv[2]))

"""How long it takes until the package is there: importing it on top of Trio, and a whole ``coap --version``.

Each figure is from a fresh process; bytecode is compiled already.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bench.children import ROOT, require_aiocoap
from bench.rounds import Benchmark, Contestant, Goal, Measure

IMPORT = Measure("import", "ms")
"""Over that of its event loop."""

LOOP = Measure("its event loop", "ms")
PROCESS = Measure("process", "ms")

_PROGRAM = """
import time
started_at = time.perf_counter()
import {loop}
loop_at = time.perf_counter()
import {package}
print((loop_at - started_at) * 1e3, (time.perf_counter() - loop_at) * 1e3)
"""


def import_time(package: str, loop: str, repetitions: int) -> dict[str, float]:
    """Return the milliseconds for *package* when *loop* is there already, and those for *loop*, medians of fresh processes."""
    command = [sys.executable, "-c", _PROGRAM.format(package=package, loop=loop)]
    figures = []
    for _ in range(repetitions):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        figures.append([float(word) for word in done.stdout.split()])
    of_loop, of_package = (statistics.median(column) for column in zip(*figures, strict=True))
    return {IMPORT.name: of_package, LOOP.name: of_loop}


def process_time(words: list[str], repetitions: int) -> float:
    """Return the milliseconds of a whole process of Python."""
    figures = []
    for _ in range(repetitions):
        started_at = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        figures.append((time.perf_counter() - started_at) * 1e3)
    return statistics.median(figures)


def _aiocoap(repetitions: int) -> dict[str, float]:
    require_aiocoap()
    return import_time("aiocoap", "asyncio", repetitions)


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    repetitions = 5 if is_full else 1
    rounds = 7 if is_full else 3
    imported: dict[str, Contestant] = {
        "ours": lambda: import_time("trio_coap", "trio", repetitions),
        "aiocoap": lambda: _aiocoap(repetitions),
    }
    processes: dict[str, Contestant] = {
        "coap --version": lambda: process_time(["-m", "trio_coap", "--version"], repetitions),
        "import trio": lambda: process_time(["-c", "import trio"], repetitions),
        "nothing": lambda: process_time(["-c", "pass"], repetitions),
    }
    return [
        Benchmark(
            "imports",
            "Importing, over the event loop",
            (IMPORT, LOOP),
            imported,
            reference="aiocoap",
            rounds=rounds,
            goals=(Goal("import trio_coap over import trio", "ours", None, IMPORT.name, 25, 15),),
            notes=(
                "ours over trio, aiocoap over asyncio; fresh processes. aiocoap imports its transports later, when it needs them.",
            ),
        ),
        Benchmark(
            "processes",
            "Processes, from start to end",
            (PROCESS,),
            processes,
            reference="import trio",
            rounds=rounds,
        ),
    ]

"""How long it takes until the package is there: importing it on top of Trio, and a whole ``coap --version``.

Rule 1: each figure is from a fresh process.  Rule 2: bytecode is compiled already, as it is where a package is installed: in a
directory of this run, whatever the environment says, and by a process before those that count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache

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
{statement}
print((loop_at - started_at) * 1e3, (time.perf_counter() - loop_at) * 1e3)
"""


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    """Return where the bytecode of this run is; it goes when this process ends."""
    return tempfile.TemporaryDirectory(prefix="trio-coap-bytecode-")


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPYCACHEPREFIX": _directory().name}


@cache
def _run_first(*command: str) -> None:
    """Run *command* once in this run, so that all of its bytecode is there."""
    _run_process(*command)


def _run_process(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=True)
    return done.stdout


def import_time(statement: str, loop: str, repetitions: int) -> dict[str, float]:
    """Return the milliseconds of an import when *loop* is there already, and those of *loop*, medians of fresh processes."""
    command = [sys.executable, "-c", _PROGRAM.format(statement=statement, loop=loop)]
    _run_first(*command)
    figures = [[float(word) for word in _run_process(*command).split()] for _ in range(repetitions)]
    of_loop, of_package = (statistics.median(column) for column in zip(*figures, strict=True))
    return {IMPORT.name: of_package, LOOP.name: of_loop}


def process_time(words: list[str], repetitions: int) -> float:
    """Return the milliseconds of a whole process of Python."""
    command = [sys.executable, *words]
    _run_first(*command)
    figures = []
    for _ in range(repetitions):
        started_at = time.perf_counter()
        _run_process(*command)
        figures.append((time.perf_counter() - started_at) * 1e3)
    return statistics.median(figures)


def _aiocoap(repetitions: int) -> dict[str, float]:
    require_aiocoap()
    # Its transports come when a context is made: without one nothing can be sent.
    statement = "import aiocoap, aiocoap.resource, aiocoap.transports.udp6"
    return import_time(statement, "asyncio", repetitions)


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    repetitions = 5 if is_full else 1
    rounds = 7 if is_full else 3
    imported: dict[str, Contestant] = {
        "import trio_coap": lambda: import_time("import trio_coap", "trio", repetitions),
        "a client": lambda: import_time("from trio_coap import open_client", "trio", repetitions),
        "a server": lambda: import_time("from trio_coap import serve, Site", "trio", repetitions),
        "every name": lambda: import_time("from trio_coap import *", "trio", repetitions),
        "aiocoap": lambda: _aiocoap(repetitions),
    }
    processes: dict[str, Contestant] = {
        "coap --version": lambda: process_time(["-m", "trio_coap", "--version"], repetitions),
        "coap --help": lambda: process_time(["-m", "trio_coap", "--help"], repetitions),
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
            goals=(
                Goal("import trio_coap over import trio", "import trio_coap", None, IMPORT.name, 25, 15),
                Goal("... and what a client needs", "a client", None, IMPORT.name, 25, 15),
                Goal("... and what a server needs", "a server", None, IMPORT.name, 25, 15),
            ),
            notes=(
                "Ours over trio: a client is `from trio_coap import open_client`, a server `from trio_coap import serve, Site`; "
                "`import trio_coap` alone imports next to nothing, as names come when they are asked for.",
                "aiocoap over asyncio: with its resources and its transport for UDP, without which it cannot talk.",
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

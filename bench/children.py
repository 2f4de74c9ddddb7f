"""Processes that benchmarks start: pinned to a core, asked by lines, ended in any case.

Rule 1: a child says one line when it is ready, and answers each line that it gets with one line.  Rule 2: whoever does not answer
in time has failed.
"""

from __future__ import annotations

import importlib.util
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.rounds import Skipped

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0
"""Seconds for one line: the fullest of tables takes a minute to fill."""

MEASURED, OTHER = 0, -1
"""What is measured has one core, what serves the measurement the other one: positions in the list of cores."""


class Child:
    """A process that answers by lines."""

    def __init__(self, command: Sequence[str], core: int = MEASURED) -> None:
        """Start *command* on a core, given by its position in the list of them."""
        self._name = " ".join(Path(word).name for word in command[:4])
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, {sorted(os.sched_getaffinity(0))[core]})

    def read(self, patience: float = PATIENCE) -> str:
        """Return the next line.

        Raises:
          RuntimeError: if none comes in *patience* seconds.
        """
        assert self.process.stdout is not None
        line = b""
        deadline = time.monotonic() + patience
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError(f"{self._name} says nothing for {patience:.0f} s")
            octets = os.read(self.process.stdout.fileno(), 65536)
            if not octets:
                raise RuntimeError(f"{self._name} has ended with {self.process.wait()}")
            line += octets
        return line.decode().strip()

    def ask(self, line: str = "") -> str:
        """Say *line* and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return self.read()

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def running(command: Sequence[str], core: int = MEASURED) -> Iterator[Child]:
    """Run *command* while the body runs."""
    child = Child(command, core)
    try:
        yield child
    finally:
        child.end()


def processor_time(pid: int) -> float:
    """Return the seconds of processor time that the first thread of a process has had; NaN where the system does not say."""
    try:
        nanoseconds = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]
    except OSError:
        return math.nan
    return int(nanoseconds) / 1e9


def python(module: str, *words: object) -> list[str]:
    """Return the command that runs a module of bench/."""
    return [sys.executable, "-m", f"bench.{module}", *map(str, words)]


def free_port() -> int:
    """Return a UDP port of loopback that is free now, for servers that do not say which one they got."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def require_aiocoap() -> None:
    """Have the contestant skipped if aiocoap is not installed."""
    if importlib.util.find_spec("aiocoap") is None:
        raise Skipped("aiocoap is not installed")

"""The load generator: building bench/load.c, running it, and what it has seen."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import attrs

from bench.rounds import Skipped

HERE = Path(__file__).parent
HOST = "::1"
PATH_T = b"\xb1t"
"""Uri-Path "t", encoded."""

PAYLOAD = "hello world"
START_SECONDS = 30.0
"""Beyond its own time, how long a run may take: retries of lost requests included."""


@attrs.frozen
class Window:
    """A part of a run."""

    completed: int
    """Requests answered, from the beginning of the run."""

    ended_at: float
    """In seconds from there."""

    server_cpu: float
    """CPU seconds of the server, from there."""

    longest_ms: float
    """The longest answer in this part."""


@attrs.frozen
class Load:
    """What the generator has seen."""

    requests: int
    seconds: float
    rate: float
    """Answers per second."""

    own_cpu_share: float
    """CPU time over time: near 1, the generator is what was measured."""

    server_cpu: float
    """CPU seconds of the server, all its threads."""

    longest_ms: float
    bad: int
    """Wrong answers: of type, code, token, message ID or payload."""

    retries: int
    lost: int
    """Requests given up after four retries."""

    strays: int
    """Messages that belong to nothing that waits, such as repeated separate responses."""

    separate: int
    """Answers that came in messages of their own although a CON was sent."""

    unanswered: int
    """Requests still without answer at the end."""

    problem: str
    """The first thing that was wrong."""

    windows: list[Window]

    @property
    def cpu_per_request(self) -> float:
        """CPU time of the server for one request, in microseconds."""
        return self.server_cpu / self.requests * 1e6

    def require_good(self) -> Load:
        """Return this, if every answer was right.

        Raises:
          RuntimeError: if one was not, or did not come.
        """
        if self.bad or self.lost or self.unanswered or not self.requests:
            raise RuntimeError(
                f"{self.bad} bad answers ({self.problem}), {self.lost} lost, {self.unanswered} unanswered "
                f"of {self.requests}"
            )
        return self


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="trio-coap-bench-")


@functools.cache
def build(name: str) -> Path:
    """Compile ``bench/NAME.c``, once per process, and return the program.

    Raises:
      Skipped: if there is no compiler, or it does not compile.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Skipped(
            "there is no C compiler (cc, gcc or clang), which the load generator needs: install one, such as gcc"
        )
    program = Path(_directory().name) / name
    command = [compiler, "-O2", "-o", str(program), str(HERE / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        problem = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise Skipped(f"{Path(compiler).name} does not compile bench/{name}.c, which needs Linux: {problem}")
    return program


def cores() -> tuple[int, int]:
    """Return the core of servers and the core of the load generator; the same one if there is just one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def generate(
    port: int,
    *,
    host: str = HOST,
    pid: int = 0,
    outstanding: int = 1,
    sockets: int = 1,
    type: str = "CON",
    options: bytes = PATH_T,
    payload: str = PAYLOAD,
    requests: int | None = None,
    seconds: float | None = None,
    warmup: int = 0,
    window: int = 0,
    per_port: int = 60_000,
    retry_after: float = 3.0,
) -> Load:
    """Send GET requests and check the answers; see bench/load.c.

    Args:
      port: of the server.
      host: of the server, a numeric address.
      pid: of the server, to measure its CPU time.
      outstanding: how many requests are under way at a time.
      sockets: over how many sockets.
      type: CON or NON.
      options: of the request, encoded.
      payload: what a right answer has.
      requests: how many requests, or
      seconds: for how long.
      warmup: so many requests come first, and are not counted.
      window: a :class:`Window` is kept for so many requests each.
      per_port: so many requests come from one port, then another one is taken, so that no message ID comes twice.
      retry_after: after so many seconds without answer a request is repeated.

    Raises:
      Skipped: if the generator cannot be built.
      RuntimeError: if it fails, as when the server has gone.
    """
    program = build("load")
    given: dict[str, object] = {
        "host": host, "port": port, "pid": pid, "outstanding": outstanding, "sockets": sockets, "type": type,
        "options": options.hex(), "payload": payload, "warmup": warmup, "window": window, "core": cores()[1],
        "per_port": per_port, "retry_after": retry_after,
    }  # fmt: skip
    if requests is not None:
        given["requests"] = requests
    if seconds is not None:
        given["seconds"] = seconds
    arguments = [text for name, value in given.items() for text in (name, str(value))]
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    seen = json.loads(done.stdout)
    return Load(**{**seen, "windows": [Window(*each) for each in seen["windows"]]})

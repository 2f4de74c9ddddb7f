"""The servers that are measured, ours and those of others: starting one, waiting until it answers, ending it by its own handle.

Each answers GET ``/t`` with the same 11 octets, piggybacked.  One that is not there is skipped, with the reason.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from bench.load import HERE, HOST, PAYLOAD, build, cores
from bench.rounds import Skipped

REPOSITORY = HERE.parent
NODE_PACKAGE = "coap@^1.5"
CACHE_VARIABLE = "TRIO_COAP_BENCH_CACHE"
LIBCOAP = "coap-server-notls"

BEFORE_VARIABLE = "TRIO_COAP_BENCH_BEFORE"
"""A directory with another state of this repository, whose server is measured too."""

MAX_START_SECONDS = 20.0
PROBE_SECONDS = 0.3
"""How long to wait for the answer to one probe; while nobody listens, the kernel refuses it at once."""

GET_T = b"\x41\x01\x70\x01\x01\xb1t"
PUT_T = b"\x41\x03\x70\x02\x02\xb1t\xff" + PAYLOAD.encode()


@attrs.frozen
class Program:
    """A server that can be started."""

    name: str
    command: Callable[[str, int], list[str]]
    """Returns the command for a host and port, or raises Skipped."""

    probe: bytes = GET_T
    """A request that is answered once the server is ready, and makes it so if need be."""

    bind: str = HOST
    """The address that it listens on; requests come to HOST in any case."""

    warmup: int = 1_000
    """Requests that come first, and are not measured."""


@attrs.frozen
class Running:
    """A server that runs."""

    port: int
    pid: int


def _python(module: str, *arguments: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: [sys.executable, "-m", f"bench.{module}", host, str(port), *arguments]


def _aiocoap(host: str, port: int) -> list[str]:
    if importlib.util.find_spec("aiocoap") is None:
        raise Skipped("aiocoap is not installed: pip install aiocoap")
    return _python("aiocoap_server")(host, port)


def _libcoap(host: str, port: int) -> list[str]:
    program = shutil.which(LIBCOAP)
    if program is None:
        raise Skipped(f"{LIBCOAP} is not installed: apt-get install libcoap3-bin")
    return [program, "-A", host, "-p", str(port), "-d", "10"]


def _node(host: str, port: int) -> list[str]:
    node = shutil.which("node")
    if node is None:
        raise Skipped("node is not installed: apt-get install nodejs npm")
    modules = cache() / "node_modules"
    if not (modules / "coap").is_dir():
        raise Skipped("node-coap is not installed: python -m bench --install-peers does that")
    return [node, str(HERE / "node_server.js"), str(modules), host, str(port)]


def _echo(host: str, port: int) -> list[str]:
    return [str(build("echo")), host, str(port), PAYLOAD]


OURS = Program("ours", _python("ours", "plain"))
OURS_ANYWHERE = Program("ours, on ::", _python("ours", "plain"), bind="::")
"""What a server gets that names no address: it asks the kernel which of its addresses each datagram was for."""

OURS_TASK = Program("ours, task", _python("ours", "task"))
AIOCOAP = Program("aiocoap", _aiocoap)
NODE = Program("node-coap", _node, warmup=20_000)  # Its compiler needs to see them.
LIBCOAP_SERVER = Program("libcoap", _libcoap, PUT_T)
LIMIT = Program("limit", _python("limit", "plain"))
LIMIT_TASK = Program("limit, task", _python("limit", "task"))
ECHO = Program("C echo", _echo)


def ours(name: str, kind: str = "plain", *, remember: int | None = None, lifetime: float | None = None) -> Program:
    """Return a server of ours that remembers more exchanges, or for another time, than by default."""
    arguments = [kind]
    if remember is not None:
        arguments += ["--remember", str(remember)]
    if lifetime is not None:
        arguments += ["--lifetime", str(lifetime)]
    return Program(name, _python("ours", *arguments))


def before() -> Program | None:
    """Return the server of another state of this repository, if one is asked for."""
    directory = os.environ.get(BEFORE_VARIABLE)
    if not directory:
        return None
    # -P: not the package of the current directory.  The program is the same for both.
    python = ["env", f"PYTHONPATH={Path(directory).resolve()}", sys.executable, "-P"]
    return Program("ours, before", lambda host, port: [*python, str(HERE / "ours.py"), host, str(port), "plain"])


def cache() -> Path:
    """Return the directory, outside the repository, where peers are installed."""
    given = os.environ.get(CACHE_VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "trio-coap-bench"


def install_peers() -> None:
    """Install node-coap from npm.

    Raises:
      Skipped: if npm is missing or fails, as without a network.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Skipped("npm is not installed: apt-get install nodejs npm")
    cache().mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--prefix", str(cache()), NODE_PACKAGE], check=False
    )
    if done.returncode != 0:
        raise Skipped("npm could not install node-coap")


@contextmanager
def running(program: Program) -> Iterator[Running]:
    """Run a server, pinned to its core, until the body ends.

    Raises:
      Skipped: if it is not there.
      RuntimeError: if it does not answer.
    """
    port = _free_port(program.bind)
    core = cores()[0]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            program.command(program.bind, port),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            _wait_until_up(process, port, program.probe)
            yield Running(port, process.pid)
        except RuntimeError as exc:
            output.seek(0)
            raise RuntimeError(f"{exc} {output.read().decode(errors='replace')[-500:]}".strip()) from exc
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_until_up(process: subprocess.Popen[bytes], port: int, probe: bytes) -> None:
    give_up_at = time.monotonic() + MAX_START_SECONDS
    with socket.socket(socket.AF_INET6 if ":" in HOST else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PROBE_SECONDS)
        sock.connect((HOST, port))
        while time.monotonic() < give_up_at:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}.")
            try:
                sock.send(probe)
                if sock.recv(2048):
                    return
            except ConnectionRefusedError:
                time.sleep(0.02)
            except TimeoutError:
                continue
    raise RuntimeError(f"the server does not answer within {MAX_START_SECONDS:.0f} s.")

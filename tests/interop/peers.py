"""The programs of others: starting them, waiting until they answer, stopping them.

Rule 1: a server runs on a loopback port that was free a moment ago; if somebody was quicker, it is started again on another one.
Rule 2: it is up when it rejects an empty Confirmable message, the CoAP ping; nothing waits for longer than a named bound.
Rule 3: what was started is stopped by its own handle.  Rule 4: a program that is not there skips the test, with the reason.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import attrs
import pytest
import trio

REPOSITORY = Path(__file__).resolve().parents[2]
LIBCOAP_SERVER = "coap-server-notls"
LIBCOAP_CLIENT = "coap-client-notls"
AIOCOAP_SERVER = Path(__file__).with_name("aiocoap_server.py")
AIOCOAP_CLIENT = Path(__file__).with_name("aiocoap_client.py")

MAX_STARTS = 3
"""Ports to try: somebody else may take one between finding it free and using it."""

MAX_START_SECONDS = 20.0
"""For a Python program on a busy machine; libcoap's needs a hundredth of a second."""

PING_SECONDS = 0.3
"""How long to wait for the answer to one ping.  Seen with libcoap 4.3.1: a server that begins in the first quarter of a
second takes notice of pings, but leaves them unanswered until that quarter is over.  Its limit of one Reset in 0.25 s
for each session seems to count from the full second."""

PAUSE_BETWEEN_PINGS = 0.02
"""In seconds: while nobody listens on the port, the kernel refuses a ping at once."""

CLIENT_SECONDS = 30.0
"""After that a client is stopped, and the test fails."""

MAX_LOG = 1 << 24
"""Octets of a server's log that are looked at."""

PING = b"\x40\x00\x5a\x5a"
PONG = b"\x70\x00\x5a\x5a"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = [
    pytest.param("127.0.0.1", id="ipv4"),
    pytest.param("::1", id="ipv6", marks=pytest.mark.skipif(not has_ipv6(), reason="there is no ::1 here")),
]


NEEDS_LIBCOAP = pytest.mark.skipif(
    shutil.which(LIBCOAP_SERVER) is None or shutil.which(LIBCOAP_CLIENT) is None,
    reason=f"{LIBCOAP_SERVER} or {LIBCOAP_CLIENT} is missing: apt-get install libcoap3-bin",
)

NEEDS_AIOCOAP = pytest.mark.skipif(
    importlib.util.find_spec("aiocoap") is None, reason="aiocoap is missing: pip install aiocoap"
)


def base_uri(host: str, port: int) -> str:
    return f"coap://[{host}]:{port}" if ":" in host else f"coap://{host}:{port}"


# Servers.


@attrs.define(eq=False)
class Peer:
    """A server of somebody else that runs."""

    host: str
    port: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @property
    def uri(self) -> str:
        """Scheme and authority."""
        return base_uri(self.host, self.port)

    @property
    def log(self) -> str:
        """What it has printed."""
        # Not with seek(): the program writes where this file stands.
        return os.pread(self.output.fileno(), MAX_LOG, 0).decode(errors="replace")

    def wait_until_up(self) -> bool:
        """Ping until there is an answer; False if the program ended instead.

        Raises:
          AssertionError: if there is no answer within MAX_START_SECONDS.
        """
        give_up_at = time.monotonic() + MAX_START_SECONDS
        while time.monotonic() < give_up_at:
            if self.process.poll() is not None:
                return False
            if is_pinged(self.host, self.port):
                # Somebody answers: it is this program if it still runs.
                return self.process.poll() is None
            time.sleep(PAUSE_BETWEEN_PINGS)
        raise AssertionError(f"{self.process.args!r} does not answer; it printed:\n{self.log}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def is_pinged(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PING_SECONDS)
        try:
            sock.connect((host, port))
            sock.send(PING)
            return sock.recv(64) == PONG
        except (ConnectionRefusedError, TimeoutError):
            return False


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running_server(host: str, command_for: Callable[[int], Sequence[str]]) -> Iterator[Peer]:
    """Run the program that *command_for* returns for a port."""
    for attempt in range(1, MAX_STARTS + 1):
        port = free_port(host)
        command = command_for(port)
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY
            )
            peer = Peer(host, port, process, output)
            try:
                if peer.wait_until_up():
                    yield peer
                    return
                if attempt == MAX_STARTS:
                    raise AssertionError(f"{command!r} ended at once, {attempt} times; it printed:\n{peer.log}")
            finally:
                peer.stop()


def libcoap_server(host: str, *arguments: str) -> AbstractContextManager[Peer]:
    """Run libcoap's example server."""
    # -v 7 prints every message; -d lets clients make resources.
    return running_server(
        host, lambda port: [LIBCOAP_SERVER, "-A", host, "-p", str(port), "-v", "7", "-d", "100", *arguments]
    )


def aiocoap_server(host: str) -> AbstractContextManager[Peer]:
    """Run ``aiocoap_server.py`` from this folder."""
    return running_server(host, lambda port: [sys.executable, str(AIOCOAP_SERVER), host, str(port)])


# Clients.


@attrs.frozen
class Seen:
    """A message in libcoap's log."""

    way: str
    """``sent`` or ``received``."""
    type: str
    code: str
    message_id: str
    options: str
    payload: str


@attrs.frozen
class Finished:
    """A client that has ended."""

    status: int
    payload: bytes
    """What it printed to standard output."""
    stderr: str

    @property
    def stdout(self) -> str:
        """The same as text."""
        return self.payload.decode()

    @property
    def messages(self) -> list[Seen]:
        """The messages in the log of libcoap's client, which it prints for ``-v 7``."""
        return messages_in(self.stdout)

    @property
    def exchange(self) -> list[str]:
        """The same in short: way, type and code of each message."""
        return [f"{seen.way} {seen.type} {seen.code}" for seen in self.messages]


_MESSAGE = re.compile(
    r" : (sent|received) \d+ bytes\n"
    r"v:1 t:(\w+) c:(\S+) i:(\w+) \{\w*\} \[ ?(.*?) ?\](?: :: '(.*)')?$",
    re.MULTILINE,
)


def messages_in(log: str) -> list[Seen]:
    return [Seen(*found) for found in _MESSAGE.findall(log)]


async def run_client(*command: str) -> Finished:
    with trio.fail_after(CLIENT_SECONDS):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, cwd=str(REPOSITORY)
        )
    return Finished(done.returncode, done.stdout, done.stderr.decode())


async def libcoap_client(*arguments: str) -> Finished:
    """Run libcoap's client; it ends with status 0 whatever comes back, and gives up after ``-B`` seconds."""
    return await run_client(LIBCOAP_CLIENT, "-B", "20", *arguments)


async def aiocoap_client(*arguments: str) -> Finished:
    """Run ``aiocoap-client``; it ends with status 1 for a response that is no success."""
    return await run_client(sys.executable, "-m", "aiocoap.cli.client", *arguments)


async def coap(*arguments: str) -> Finished:
    """Run our own command."""
    return await run_client(sys.executable, "-m", "trio_coap", *arguments)

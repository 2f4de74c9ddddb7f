"""Sockets for the tests of the UDP endpoint."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

PATIENCE = 5
"""Seconds of real time after which a test over the loopback interface has failed; it takes milliseconds."""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 on this host's loopback interface")

LOOPBACKS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]


@contextmanager
def open_raw(host: str = "127.0.0.1", port: int = 0) -> Iterator[trio.socket.SocketType]:
    """Open a socket of a peer that the test plays."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        sock.setblocking(False)
        yield trio.socket.from_stdlib_socket(sock)


def closed_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nobody listens."""
    with open_raw(host) as sock:
        return int(sock.getsockname()[1])


class StandIn:
    """What acts like a socket, with no more than it takes."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self._sock.setblocking(False)
        self.sent: list[tuple[bytes, Any]] = []
        self.send_errors: list[OSError] = []
        self.is_closed = False
        self._has_sent = trio.Event()

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def fileno(self) -> int:
        return self._sock.fileno()

    def recvfrom(self, bufsize: int) -> tuple[bytes, Any]:
        return self._sock.recvfrom(bufsize)

    def sendto(self, data: bytes, address: Any) -> int:
        if self.send_errors:
            raise self.send_errors.pop(0)
        self.sent.append((data, address))
        self._has_sent.set()
        return len(data)

    async def wait_for_send(self) -> None:
        await self._has_sent.wait()

    def close(self) -> None:
        self._sock.close()
        self.is_closed = True


class CountingSocket(socket.socket):
    """A real socket that counts how often it is read, and fails to send when told."""

    reads = 0
    send_errors: list[OSError]

    def recvfrom(self, *args: Any) -> Any:
        self.reads += 1
        return super().recvfrom(*args)

    def recvmsg(self, *args: Any) -> Any:
        self.reads += 1
        return super().recvmsg(*args)

    def sendto(self, *args: Any) -> int:
        if self.send_errors:
            raise self.send_errors.pop(0)
        return super().sendto(*args)


def counting_socket(host: str = "127.0.0.1") -> CountingSocket:
    sock = CountingSocket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.send_errors = []
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock

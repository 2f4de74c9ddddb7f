"""A client that does what a client on Trio cannot do without, and nothing else: the limit of the client benchmarks.

Tokens are counted, nothing is repeated or remembered, and no option of a response is read.  It is no client for applications.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import outcome
import trio

MAX_DATAGRAM = 65_535
BATCH = 32


class MinimalClient:
    """Requests from one socket."""

    def __init__(self, sock: socket.socket) -> None:
        """Send from *sock*, which is connected."""
        self._socket = sock
        self._waiting: dict[bytes, trio.lowlevel.Task] = {}
        self._number = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator[MinimalClient]:
        """Open a client for requests to *port* of this host."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", port))
            client = cls(sock)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client._receive)
                yield client
                nursery.cancel_scope.cancel()

    async def get(self) -> bytes:
        """Do one request and return the payload of its response."""
        self._number += 1
        key = (self._number & 0xFFFF).to_bytes(2, "big") + self._number.to_bytes(4, "big")
        self._waiting[key] = trio.lowlevel.current_task()
        self._socket.send(b"\x44\x01" + key + b"\xb1t")

        def abort(raise_cancel: object) -> trio.lowlevel.Abort:
            del self._waiting[key]
            return trio.lowlevel.Abort.SUCCEEDED

        payload: bytes = await trio.lowlevel.wait_task_rescheduled(abort)
        return payload

    async def _receive(self) -> None:
        receive, waiting, reschedule = self._socket.recv, self._waiting, trio.lowlevel.reschedule
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(BATCH):
                try:
                    data = receive(MAX_DATAGRAM)
                except BlockingIOError:
                    break
                task = waiting.pop(data[2:8], None)
                if task is not None and data[0] == 0x64 and data[8] == 0xFF:
                    reschedule(task, outcome.Value(data[9:]))

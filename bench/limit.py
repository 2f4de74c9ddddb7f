"""The practical limit: a CoAP server on Trio written by hand for one purpose, on the socket calls that any server needs.

It parses, finds duplicates by remote and message ID, remembers replies for EXCHANGE_LIFETIME, routes, calls a function and answers
inline; datagrams are read in batches, without an await for each.  There is nothing else: no limits, no
statistics, no errors, no block-wise transfer.  Run as ``python -m bench.limit HOST PORT plain|task``.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Callable

import trio

PAYLOAD = b"hello world"
EXCHANGE_LIFETIME = 247.0
BATCH = 64
CON, NON, ACK, RST = range(4)
GET = 1
CONTENT, NOT_FOUND = 0x45, 0x84

Source = tuple[str, int] | tuple[str, int, int, int]
Options = list[tuple[int, bytes]]


def greet(options: Options, payload: bytes) -> bytes:
    """Answer ``/t``."""
    return PAYLOAD


ROUTES: dict[tuple[int, bytes], Callable[[Options, bytes], bytes]] = {(GET, b"t"): greet}


def parse_options(data: bytes, offset: int) -> tuple[Options, bytes]:
    """Return the options from *offset* on, and the payload."""
    options: Options = []
    number, end = 0, len(data)
    while offset < end:
        octet = data[offset]
        offset += 1
        if octet == 0xFF:
            return options, data[offset:]
        delta, length = octet >> 4, octet & 15
        if delta == 13:
            delta = data[offset] + 13
            offset += 1
        elif delta == 14:
            delta = int.from_bytes(data[offset : offset + 2], "big") + 269
            offset += 2
        if length == 13:
            length = data[offset] + 13
            offset += 1
        elif length == 14:
            length = int.from_bytes(data[offset : offset + 2], "big") + 269
            offset += 2
        number += delta
        options.append((number, data[offset : offset + length]))
        offset += length
    return options, b""


class LimitServer:
    """All state of the server."""

    def __init__(self, sock: socket.socket, nursery: trio.Nursery | None) -> None:
        """Serve on *sock*; with a nursery each request has a task of its own."""
        self.sock = sock
        self.nursery = nursery
        self.remembered: dict[Source, dict[int, bytes]] = {}
        self.expiring: deque[tuple[float, Source, int]] = deque()
        self.message_id = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        recvfrom = self.sock.recvfrom
        while True:
            await trio.lowlevel.wait_readable(self.sock)
            now = trio.current_time()
            self.forget(now)
            for _ in range(BATCH):
                try:
                    data, source = recvfrom(65535)
                except BlockingIOError:
                    break
                self.receive(data, source, now)

    def forget(self, now: float) -> None:
        """Forget what is older than EXCHANGE_LIFETIME."""
        expiring = self.expiring
        while expiring and expiring[0][0] <= now:
            _, source, message_id = expiring.popleft()
            remembered = self.remembered[source]
            del remembered[message_id]
            if not remembered:
                del self.remembered[source]

    def receive(self, data: bytes, source: Source, now: float) -> None:
        """Take one datagram, and answer it unless it is no request."""
        head = int.from_bytes(data[:4], "big")
        if len(data) < 4 or head >> 30 != 1:
            return
        message_type, token_length, code, message_id = head >> 28 & 3, head >> 24 & 15, head >> 16 & 255, head & 0xFFFF
        if message_type > NON or code > 31:
            return
        if code == 0:
            self.send((0x7000_0000 | message_id).to_bytes(4, "big"), source)
            return
        remembered = self.remembered.get(source)
        if remembered is None:
            remembered = self.remembered[source] = {}
        elif (reply := remembered.get(message_id)) is not None:
            self.send(reply, source)
            return
        remembered[message_id] = b""
        self.expiring.append((now + EXCHANGE_LIFETIME, source, message_id))
        token = data[4 : 4 + token_length]
        options, payload = parse_options(data, 4 + token_length)
        arguments = (message_type, code, message_id, token, options, payload, source, remembered)
        if self.nursery is None:
            self.answer(*arguments)
        else:
            self.nursery.start_soon(self.answer_in_task, *arguments)

    def answer(
        self,
        message_type: int,
        code: int,
        message_id: int,
        token: bytes,
        options: Options,
        payload: bytes,
        source: Source,
        remembered: dict[int, bytes],
    ) -> None:
        """Call the handler, send its answer, and remember it."""
        path = b"/".join([value for number, value in options if number == 11])
        handler = ROUTES.get((code, path))
        if handler is None:
            response_code, body = NOT_FOUND, b""
        else:
            response_code, body = CONTENT, b"\xff" + handler(options, payload)
        if message_type == CON:
            response_type, response_id = ACK, message_id
        else:
            response_type, response_id = NON, self.message_id
            self.message_id = (response_id + 1) & 0xFFFF
        head = 0x4000_0000 | response_type << 28 | len(token) << 24 | response_code << 16 | response_id
        remembered[message_id] = reply = head.to_bytes(4, "big") + token + body
        self.send(reply, source)

    async def answer_in_task(
        self,
        message_type: int,
        code: int,
        message_id: int,
        token: bytes,
        options: Options,
        payload: bytes,
        source: Source,
        remembered: dict[int, bytes],
    ) -> None:
        """Do the same in a task of its own."""
        self.answer(message_type, code, message_id, token, options, payload, source, remembered)

    def send(self, data: bytes, destination: Source) -> None:
        """Send, or lose it."""
        try:
            self.sock.sendto(data, destination)
        except BlockingIOError:
            return


async def main(host: str, port: int, kind: str) -> None:
    """Serve until cancelled."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((host, port))
        async with trio.open_nursery() as nursery:
            await LimitServer(sock, nursery if kind == "task" else None).run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3])

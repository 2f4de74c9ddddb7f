"""A site on loopback in a thread of its own, and the command called in this process."""

from __future__ import annotations

import io
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import attrs
import pytest
import trio

from trio_coap import (
    Block,
    Code,
    ProblemDetails,
    Request,
    Response,
    Server,
    Site,
    StreamedBody,
    StreamedRequest,
    block_policy,
    serve,
)
from trio_coap.cli.main import main
from trio_coap.cli.progress import PATIENCE


@attrs.frozen
class Outcome:
    """What a call of the command left behind."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()


Coap = Callable[..., Outcome]

LONG_BODY = bytes(range(256)) * 12

TICK = 0.03
"""Seconds after which what can be observed changes, in real time: the command is a process, or runs a loop of its own."""


@attrs.define
class Peer:
    """The site that is served, and what it has received."""

    authority: str = ""
    requests: list[Request] = attrs.Factory(list)
    ticks: int = 0

    def uri(self, path: str) -> str:
        return f"coap://{self.authority}{path}"

    @property
    def last(self) -> Request:
        return self.requests[-1]


def make_site(peer: Peer) -> Site:
    site = Site()
    echo = site.resource("/echo")

    def answer(request: Request) -> Response:
        peer.requests.append(request)
        content_format = request.options.content_format
        return Response(Code.CONTENT, request.payload, content_format=content_format, max_age=7)

    for octet in range(1, 8):  # GET to iPATCH
        echo.method(Code(octet), understands=["If-Match", "If-None-Match"])(answer)

    @site.get("/octets")
    def octets(request: Request) -> Response:
        return Response(Code.CONTENT, bytes(range(256)), content_format=42)

    @site.get("/json")
    def json(request: Request) -> Response:
        return Response(Code.CONTENT, b'{"a":[1,2],"b":"\\u00e9"}', content_format=50)

    @site.get("/.well-known/core")
    @site.get("/links")
    def links(request: Request) -> Response:
        return Response(Code.CONTENT, b'</temp>;rt="temperature";ct="0 50",</lamp>;obs', content_format=40)

    @site.get("/code/{number:int}")
    def code(request: Request, number: int) -> Response:
        return Response(Code(number), b"line 1\nline 2 \x1b[31mred\x07")

    @site.get("/problem")
    def problem(request: Request) -> Response:
        return Response(Code.BAD_REQUEST, b"\xa0", content_format=257)

    details = ProblemDetails(title="Out of range", detail="97 °C\nis too hot").encode()

    @site.get("/range")
    def out_of_range(request: Request) -> Response:
        return Response(Code.BAD_REQUEST, details, content_format=257)

    @site.get("/critical")
    def critical(request: Request) -> Response:
        return Response(Code.CONTENT, b"x", q_block1=Block(0, True, 2))

    @site.get("/count", observable=True)
    def count(request: Request) -> str:
        peer.requests.append(request)
        peer.ticks += 1
        return f"state {peer.ticks}"

    @site.get("/ending", observable=True)
    def ending(request: Request) -> str:
        return "the only state\n"

    @site.get("/still", observable=True)
    def still(request: Request) -> str:
        peer.requests.append(request)
        return "nothing happens"

    @site.get("/long", observable=True)
    def long(request: Request) -> Response:
        return Response(Code.CONTENT, LONG_BODY, content_format=42)

    @site.put("/long")
    def keep(request: Request) -> Response:
        peer.requests.append(request)
        return Response(Code.CHANGED, request.payload[::-1])

    @site.put("/slow")
    @block_policy(streams=True)
    async def slow(request: StreamedRequest) -> Response:
        pieces: list[bytes] = []
        async for piece in request.stream():
            if len(pieces) == 4:
                await trio.sleep(2 * PATIENCE)  # Long enough for a bar.
            pieces.append(piece)
        return Response(Code.CHANGED, b"".join(pieces)[::-1])

    @site.get("/failing")
    async def failing(request: Request) -> StreamedBody:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(1500)
            raise RuntimeError

        return StreamedBody(pieces())

    @site.get("/never")
    async def never(request: Request) -> None:
        await trio.sleep_forever()

    return site


async def tick(site: Site) -> None:
    while True:
        await trio.sleep(TICK)
        site.resource("/count").notify()
        site.resource("/long").notify()
        site.resource("/ending").end()


@pytest.fixture(scope="module")
def served() -> Iterator[Peer]:
    """Serve on loopback until the tests of the module are over."""
    peer = Peer()
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            site = make_site(peer)
            server: Server = await nursery.start(partial(serve, site, "127.0.0.1", 0))
            nursery.start_soon(tick, site)
            peer.authority = server.endpoint.hostinfo
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            started.set()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert started.wait(10)
    yield peer
    stop[0]()
    thread.join(10)


@pytest.fixture
def peer(served: Peer) -> Peer:
    """The site, which has received nothing yet."""
    served.requests.clear()
    return served


@pytest.fixture
def coap(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Coap:
    """Call the command with these words; *stdin* is what it can read, *is_terminal* whether it prints to one."""

    def call(*argv: str, stdin: bytes = b"", is_terminal: bool = False) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
        capsysbinary.readouterr()
        status = main(argv)
        captured = capsysbinary.readouterr()
        return Outcome(status, captured.out, captured.err.decode())

    return call


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A socket on loopback that takes datagrams and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock

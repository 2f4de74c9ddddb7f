"""The main job in a few seconds, on loopback: ``make demo``, or ``python -m trio_coap.cli.demo``.

Rule: everything that is shown is checked too, on the datagrams that went over the wire; the exit status says whether
it went as it should.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import final

import trio

from trio_coap.cli.progress import progress_line, shown_progress
from trio_coap.cli.trace import TracePrinter, WireEvent, open_watched_endpoint
from trio_coap.client import Client, Progress
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.server import Site, StreamedRequest, block_policy, serve
from trio_coap.transports.udp.opening import open_endpoint
from trio_coap.wire.codes import ACK, CON, RST, Code, MessageType
from trio_coap.wire.message import Message, Request

SLOW = 1.0
"""Seconds that ``/slow`` takes: more than its acknowledgement waits for an answer."""

STUBBORN = 1.2
"""Seconds that ``/stubborn`` takes: until long after the client has lost its patience."""

PATIENCE = 0.4
"""Seconds after which the client cancels the request for ``/stubborn``: two transmissions, and the third is to come."""

AT_ONCE = 0.15
"""Seconds within which the request after a cancelled one must be on the wire; one millisecond is usual, and the next
repetition of the cancelled one would come after 0.2 s."""

STATES = 3
"""States of the lamp that the observation waits for."""

FIRMWARE = bytes(range(256)) * 1024
"""What is uploaded: 256 KiB, in as many blocks as the demo does not want to show one by one."""

FIRMWARE_BLOCK = 1024
"""Octets of a block of it."""

WRITING = 0.004
"""Seconds that the server takes to write a block of it: long enough to watch the bar."""

SERVER_PARAMETERS = TransmissionParameters(empty_ack_delay=0.7)
"""The server waits longer with its empty ACK than usual: it would stop the repetitions before the client does."""

HASTY_PARAMETERS = TransmissionParameters(ack_timeout=0.2, ack_random_factor=1.0, empty_ack_delay=0.1)
"""The client repeats the stubborn request after 0.2 s, then after 0.4 s more, and so on, instead of 2 to 3 s, ..."""


class WrongTurn(Exception):
    """Something did not go as it should; the text says what."""


@final
class Recorder:
    """A watcher that prints and keeps what goes over the wire."""

    def __init__(self) -> None:
        self._print = TracePrinter(sys.stdout, sent="client -> server", received="client <- server")
        self.events: list[WireEvent] = []
        self.is_quiet = False
        """True to keep datagrams, but print none."""
        self._heard = trio.Event()

    def __call__(self, event: WireEvent) -> None:
        """Take a datagram."""
        if not self.is_quiet:
            self._print(event)
        self.events.append(event)
        self._heard.set()

    def show(self, event: WireEvent) -> None:
        """Print a datagram that was kept."""
        self._print(event)

    async def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until *condition* holds, which a datagram brings about.

        Raises:
          WrongTurn: if it does not within ten seconds.
        """
        with trio.move_on_after(10):
            while not condition():
                self._heard = trio.Event()
                await self._heard.wait()
            return
        raise WrongTurn(f"{what} did not happen")

    def messages(self, *, is_sent: bool, start: int = 0) -> Iterator[tuple[WireEvent, Message]]:
        """Yield the messages that went one way, from the *start*-th datagram on."""
        for event in self.events[start:]:
            message = event.decoded
            if event.is_sent is is_sent and isinstance(message, Message):
                yield event, message

    def count(self, start: int, *, is_sent: bool, type: MessageType, code: Code = Code.EMPTY) -> int:
        """Return how many messages of that kind went one way, from the *start*-th datagram on."""
        found = self.messages(is_sent=is_sent, start=start)
        return sum(message.type is type and message.code is code for _, message in found)


def make_site() -> Site:
    """Return the site of the demo's server."""
    site = Site()
    lamp = ["off"]

    @site.get("/hello")
    def hello(request: Request) -> str:
        return "hello, world"

    @site.get("/lamp", observable=True)
    def read_lamp(request: Request) -> str:
        return lamp[0]

    @site.put("/lamp")
    def set_lamp(request: Request) -> None:
        lamp[0] = request.text
        site.resource("/lamp").notify()

    @site.put("/firmware")
    @block_policy(streams=True)
    async def install(request: StreamedRequest) -> str:
        digest = hashlib.sha256()
        async for block in request.stream():
            digest.update(block)
            await trio.sleep(WRITING)
        return digest.hexdigest()

    @site.get("/slow")
    async def slow(request: Request) -> str:
        await trio.sleep(SLOW)
        return "it took a second"

    @site.get("/stubborn")
    async def stubborn(request: Request) -> str:
        await trio.sleep(STUBBORN)
        return "too late"

    return site


async def show_get(client: Client, wire: Recorder) -> None:
    """GET: the response travels in the acknowledgement."""
    response = await client.get("/hello")
    check(response.text == "hello, world", f"/hello says {response.text!r}")
    check(len(wire.events) == 2, "a piggybacked response takes two datagrams")


async def show_put(client: Client, wire: Recorder) -> None:
    """PUT: the lamp goes on, and GET says so."""
    response = await client.put("/lamp", "on")
    check(response.code is Code.CHANGED, f"PUT is answered with {response.code}")
    response = await client.get("/lamp")
    check(response.text == "on", f"the lamp is {response.text!r} after PUT")


async def show_separate_response(client: Client, wire: Recorder) -> None:
    """GET, and the answer takes a second: an empty ACK first, then the response in a message of its own."""
    start = len(wire.events)
    started_at = trio.current_time()
    response = await client.get("/slow")
    elapsed = trio.current_time() - started_at
    check(response.text == "it took a second" and elapsed >= SLOW, f"/slow says {response.text!r} after {elapsed:.3} s")
    check(response.type is CON, f"the separate response is a {response.type.name}")
    check(wire.count(start, is_sent=False, type=ACK) == 1, "one empty ACK comes from the server")
    check(wire.count(start, is_sent=True, type=ACK) == 1, "one empty ACK goes to the server")


async def show_cancelled_request(client: Client, wire: Recorder) -> None:
    """GET, cancelled after 0.4 s: the repetitions stop, the next request goes out at once, the late answer gets a Reset.

    This request has an ACK_TIMEOUT of 0.2 s instead of 2 s, so that it is repeated after 0.2, 0.6 and 1.4 s.
    """
    start = len(wire.events)
    with trio.move_on_after(PATIENCE) as patience:
        await client.get("/stubborn", parameters=HASTY_PARAMETERS)
    cancelled_at, cancelled = trio.current_time(), len(wire.events)
    check(patience.cancelled_caught, "the request was cancelled")
    before = wire.count(start, is_sent=True, type=CON, code=Code.GET)
    check(before >= 2, f"the request was sent {before} times before it was cancelled")
    say(f"cancelled: it was sent {before} times until now; the next request does not wait")
    response = await client.get("/hello")
    next_event, _ = next(wire.messages(is_sent=True, start=cancelled))
    check(next_event.at - cancelled_at < AT_ONCE, f"the next request waited {next_event.at - cancelled_at:.3} s")
    check(response.code.is_success, f"the next request is answered with {response.code}")
    say("no third transmission follows; the server's answer is still to come, and nobody waits for it")
    # The Reset comes long after the next repetition would have been due, 0.6 s after the beginning.
    await wire.wait_for(lambda: wire.count(cancelled, is_sent=True, type=RST) > 0, "the Reset for the late answer")
    after = wire.count(cancelled, is_sent=True, type=CON, code=Code.GET)
    check(after == 1, f"{after - 1} repetitions went out after the request was cancelled")


async def show_not_found(client: Client, wire: Recorder) -> None:
    """GET of what is not there: 4.04, which is a response like any other."""
    response = await client.get("/nothing")
    check(response.code is Code.NOT_FOUND, f"/nothing is answered with {response.code}")


async def show_observation(client: Client, wire: Recorder) -> None:
    """GET with Observe: each new state of the lamp comes by itself, and leaving tells the server."""
    start = len(wire.events)
    states = []
    async with client.observe("/lamp") as observation:
        async for response in observation:
            states.append(response.text)
            if len(states) == STATES:
                break
            await client.put("/lamp", f"dimmed to {100 // len(states)} %")
    check(states[1:] == ["dimmed to 100 %", "dimmed to 50 %"], f"the states of the lamp are {states}")
    gets = [message for _, message in wire.messages(is_sent=True, start=start) if message.code == Code.GET]
    check([message.options.observe for message in gets] == [0, 1], "one registration went out, and its end")
    check(gets[0].token == gets[-1].token, "registration and end have the same token")


async def show_upload(client: Client, wire: Recorder) -> None:
    """PUT of 256 KiB in 256 blocks, which the server digests as they come; only the first and the last are shown."""
    start = len(wire.events)
    progress = Progress()
    async with shown_progress(progress, sys.stdout, patience=0.1):
        wire.is_quiet = True
        try:
            response = await client.put("/firmware", FIRMWARE, block_size=FIRMWARE_BLOCK, progress=progress)
        finally:
            wire.is_quiet = False
    for event in (*wire.events[start : start + 2], *wire.events[-2:]):
        wire.show(event)
    say(progress_line("sent", progress.sent, progress.to_send))
    check(response.text == hashlib.sha256(FIRMWARE).hexdigest(), "what has arrived is what was sent")
    check(progress.sent == progress.to_send == len(FIRMWARE), f"{progress.sent} octets were answered for")
    blocks = wire.count(start, is_sent=True, type=CON, code=Code.PUT)
    check(blocks >= len(FIRMWARE) // FIRMWARE_BLOCK, f"it went in {blocks} blocks")


SCENES = (
    show_get,
    show_put,
    show_separate_response,
    show_cancelled_request,
    show_not_found,
    show_observation,
    show_upload,
)


async def run_demo() -> None:
    """Start the server and play all scenes.

    Raises:
      WrongTurn: if something does not go as it should.
    """
    wire = Recorder()
    async with (
        open_endpoint("127.0.0.1", parameters=SERVER_PARAMETERS) as served,
        open_watched_endpoint(wire, "127.0.0.1") as endpoint,
        trio.open_nursery() as nursery,
    ):
        server = await nursery.start(partial(serve, make_site(), endpoint=served))
        print(f"The server listens on {server.uri}.", flush=True)
        client = Client(endpoint, server.uri)
        for number, scene in enumerate(SCENES, start=1):
            print(f"\n{number}. {inspect.getdoc(scene)}\n", flush=True)
            await scene(client, wire)
        check(endpoint.statistics().tokens == 0, "no token of the client is left")
        nursery.cancel_scope.cancel()
    print(f"\nAll went as it should: {len(SCENES)} scenes, {len(wire.events)} datagrams.", flush=True)


def check(is_so: bool, what: str) -> None:
    """Raise WrongTurn with *what* unless *is_so*."""
    if not is_so:
        raise WrongTurn(what)


def say(text: str) -> None:
    """Print a remark between datagrams."""
    print(f"            ({text})", flush=True)


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raise the WrongTurn in a group as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        wrong = group.subgroup(WrongTurn)
        if wrong is None:
            raise
        first: BaseException = wrong
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def main() -> int:
    """Run the demo and return the exit status: 0 if everything went as it should, 1 otherwise."""
    try:
        with _unwrapped():
            trio.run(run_demo)
    except WrongTurn as exc:
        print(f"\nThat did not go as it should: {exc}", flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

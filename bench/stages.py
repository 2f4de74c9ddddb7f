"""Servers that have N of something, for :mod:`bench.curves`.

Rule: each is an async context manager that gives a function; that gets a count, does so many operations, and returns the
microseconds of processor time for each.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from bench.engine import ANSWER, MANY, SilentEndpoint, get, open_silent_server, path_options, plain_site, remotes
from trio_coap import CON, NON, Code, Request, Response, Site
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS

PER_REMOTE = 50_000
"""Messages between two endpoints that are remembered at a time, of 65,536 message IDs."""

BACKGROUND = 1_000
"""Exchanges that are remembered where it is not they that there are N of."""

LIFETIME = DEFAULT_PARAMETERS.exchange_lifetime

OBSERVERS_PER_REMOTE = 100

OUR_PEERS = 1 << 20
"""The first of the remotes that we ask ourselves: others than those who ask us."""

FIRST_SLOW = 1 << 24
"""The first number of requests that are not answered: their tokens are others than those of :class:`Traffic`."""

EAGER = attrs.evolve(DEFAULT_PARAMETERS, probing_rate=math.inf)
"""For messages to whoever does not answer."""

PATIENT = attrs.evolve(DEFAULT_PARAMETERS, nstart=MANY, ack_timeout=1e6)
"""For requests that stay unanswered during the whole measurement."""

Measured = Callable[[int], float]
Stage = Callable[[int], AbstractAsyncContextManager[Measured]]


def remotes_for(messages: int) -> int:
    """Return how many remotes are needed for so many message IDs."""
    return max(1, -(-messages // PER_REMOTE))


class Traffic:
    """Requests that come at a constant pace, so that always as many are remembered as shall be."""

    def __init__(
        self,
        endpoint: SilentEndpoint,
        remembered: int,
        remote_count: int | None = None,
        options: Sequence[bytes] = (path_options("r"),),
    ) -> None:
        """Let requests come until *remembered* of them are.

        Args:
          endpoint: of the server.
          remembered: exchanges that are remembered from now on.
          remote_count: remotes, whose turn it is one after the other; by default as many as are needed.
          options: of the requests, in turn.
        """
        self._endpoint = endpoint
        self._pause = LIFETIME / remembered
        self._remotes = remotes(remotes_for(remembered) if remote_count is None else remote_count)
        self._options = options
        self._number = 0
        for _ in range(remembered):
            endpoint.go_to(endpoint.now + self._pause)
            endpoint.datagram_received(*self._next(), endpoint.now)

    def _next(self) -> tuple[bytes, Endpoint]:
        number, remote = divmod(self._number, len(self._remotes))
        options = self._options[self._number * 7919 % len(self._options)]
        self._number += 1
        return get(number, options), self._remotes[remote]

    def measure(self, count: int) -> float:
        """Let so many come, and as many expire."""
        endpoint, pause = self._endpoint, self._pause
        coming = [self._next() for _ in range(count)]
        sent = endpoint.sent
        started_at = time.process_time()
        for data, source in coming:
            endpoint.go_to(endpoint.now + pause)
            endpoint.datagram_received(data, source, endpoint.now)
        elapsed = time.process_time() - started_at
        assert endpoint.sent == sent + count, f"{endpoint.sent - sent} datagrams were sent for {count} requests"
        assert endpoint.last.endswith(ANSWER)
        return elapsed / count * 1e6


@asynccontextmanager
async def open_exchanges(size: int) -> AsyncIterator[Measured]:
    """Remember *size* exchanges."""
    async with open_silent_server(plain_site()) as endpoint:
        yield Traffic(endpoint, size).measure


@asynccontextmanager
async def open_remotes(size: int) -> AsyncIterator[Measured]:
    """Know *size* remotes, with two exchanges each."""
    async with open_silent_server(plain_site()) as endpoint:
        yield Traffic(endpoint, 2 * size, size).measure


@asynccontextmanager
async def open_resources(size: int) -> AsyncIterator[Measured]:
    """Have *size* resources in the site, which are asked for in turn."""
    site = Site()
    for number in range(size):
        site.get(f"/r/{number}")(_read)
    asked_for = [path_options("r", str(number * 104_729 % size)) for number in range(min(size, 10_000))]
    async with open_silent_server(site) as endpoint:
        yield Traffic(endpoint, BACKGROUND, options=asked_for).measure


def _read(request: Request) -> bytes:
    return ANSWER


def _read_numbered(request: Request, number: int) -> bytes:
    return ANSWER


def _observe(endpoint: SilentEndpoint, size: int) -> list[Endpoint]:
    """Register observers of ``/o/0``, ``/o/1`` and so on; return whose they are, and let the registrations be forgotten."""
    observing = remotes(-(-size // OBSERVERS_PER_REMOTE), OUR_PEERS)
    for number in range(size):
        segment = str(number).encode()
        registration = get(number, b"\x60\x51o%c%b" % (len(segment), segment))
        endpoint.datagram_received(registration, observing[number // OBSERVERS_PER_REMOTE], endpoint.now)
    endpoint.go_to(endpoint.now + LIFETIME + 1)
    return observing


@asynccontextmanager
async def open_observers(size: int) -> AsyncIterator[Measured]:
    """Have *size* observers of other resources."""
    site = plain_site()
    site.get("/o/{number:int}", observable=True)(_read_numbered)
    async with open_silent_server(site, max_observers=MANY) as endpoint:
        _observe(endpoint, size)
        yield Traffic(endpoint, BACKGROUND).measure


@asynccontextmanager
async def open_changes(size: int) -> AsyncIterator[Measured]:
    """Have *size* observers of a path each, one of which changes at a time."""
    site = Site()
    site.get("/o/{number:int}", observable=True)(_read_numbered)
    resource = site.resource("/o/{number:int}")

    async with open_silent_server(site, max_observers=MANY) as endpoint:
        observing = _observe(endpoint, size)

        def measure(count: int) -> float:
            sent = endpoint.sent
            started_at = time.process_time()
            for step in range(count):
                number = step * 7919 % size
                endpoint.go_to(endpoint.now + LIFETIME / BACKGROUND)
                resource.notify(number=number)
                acknowledgement = b"\x60\x00" + endpoint.last[2:4]
                endpoint.datagram_received(acknowledgement, observing[number // OBSERVERS_PER_REMOTE], endpoint.now)
            elapsed = time.process_time() - started_at
            assert endpoint.sent == sent + count, f"{endpoint.sent - sent} datagrams were sent for {count} changes"
            return elapsed / count * 1e6

        yield measure


@asynccontextmanager
async def open_handlers(size: int) -> AsyncIterator[Measured]:
    """Have *size* tasks of handlers run for one remote, and answer its other requests."""
    site = plain_site()

    @site.get("/slow")
    async def read_slowly(request: Request) -> bytes:
        await trio.sleep_forever()
        return ANSWER

    async with open_silent_server(site, max_running_handlers=MANY) as endpoint:
        (remote,) = remotes(1)
        for number in range(size):
            endpoint.datagram_received(get(FIRST_SLOW + number, b"\xb4slow"), remote, endpoint.now)
        endpoint.go_to(endpoint.now + 2 * LIFETIME)
        yield Traffic(endpoint, BACKGROUND).measure


@asynccontextmanager
async def open_groups(size: int) -> AsyncIterator[Measured]:
    """Know *size* remotes, and ask a group."""
    async with open_silent_server(plain_site(), parameters=EAGER) as endpoint:
        Traffic(endpoint, 2 * size, size)
        group = Endpoint(("224.0.1.187", 5683))
        pause = LIFETIME / max(BACKGROUND, size)

        def measure(count: int) -> float:
            sent = endpoint.sent
            started_at = time.process_time()
            for number in range(count):
                endpoint.now += pause
                request = Request(Code.GET, type=NON, token=number.to_bytes(4, "big"), uri_path=("r",))
                endpoint.send(request, group, now=endpoint.now)
            elapsed = time.process_time() - started_at
            assert endpoint.sent == sent + count
            return elapsed / count * 1e6

        yield measure


def _ask(endpoint: SilentEndpoint, size: int) -> None:
    """Send *size* requests that stay unanswered."""
    peers = remotes(remotes_for(size), OUR_PEERS)
    for number in range(size):
        remote = peers[number // PER_REMOTE]
        token = endpoint.new_token(remote)
        endpoint.tokens[remote, token] = _Waiting()
        request = Request(Code.GET, type=CON, token=token, uri_path=("r",))
        endpoint.send(request, remote, now=endpoint.now, parameters=PATIENT)


@asynccontextmanager
async def open_outstanding(size: int) -> AsyncIterator[Measured]:
    """Wait for the responses to *size* requests of our own, and answer those of others."""
    async with open_silent_server(plain_site()) as endpoint:
        _ask(endpoint, size)
        yield Traffic(endpoint, BACKGROUND).measure


@attrs.define(eq=False)
class _Waiting:
    """Who waits for a response."""

    response: Response | None = None

    def response_received(self, response: Response, now: float) -> bool:
        self.response = response
        return True

    def endpoint_closed(self) -> None:
        pass


@asynccontextmanager
async def open_asking(size: int) -> AsyncIterator[Measured]:
    """Wait for the responses to *size* requests, and ask somebody else, who answers."""
    async with open_silent_server(plain_site()) as endpoint:
        _ask(endpoint, size)
        (remote,) = remotes(1)

        def measure(count: int) -> float:
            started_at = time.process_time()
            for _ in range(count):
                endpoint.go_to(endpoint.now + LIFETIME / BACKGROUND)
                waiting = _Waiting()
                token = endpoint.new_token(remote)
                endpoint.tokens[remote, token] = waiting
                request = Request(Code.GET, type=CON, token=token, uri_path=("r",))
                endpoint.send(request, remote, now=endpoint.now)
                answer = b"\x64\x45%b%b\xff%b" % (endpoint.last[2:4], token, ANSWER)
                endpoint.datagram_received(answer, remote, endpoint.now)
                del endpoint.tokens[remote, token]
                assert waiting.response is not None
            return (time.process_time() - started_at) / count * 1e6

        yield measure

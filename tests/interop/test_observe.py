"""Observations with libcoap 4.3.1 and aiocoap 0.4, in both directions, and discovery of what there is."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from tests.interop.peers import (
    CLIENT_SECONDS,
    HOSTS,
    NEEDS_AIOCOAP,
    NEEDS_LIBCOAP,
    Peer,
    libcoap_client,
    run_client,
    running_server,
)
from trio_coap import CON, Client, Code, NotificationPolicy, Request, Server, Site, TransmissionParameters, serve

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent


@attrs.define(eq=False)
class Counter:
    """A resource of ours that counts up as soon as it has been read, or when the test says so."""

    server: Server
    site: Site
    number: int = 0
    deregistered: trio.Event = attrs.Factory(trio.Event)

    @property
    def uri(self) -> str:
        return self.server.uri + "/count"

    @property
    def observers(self) -> int:
        return len(self.server.dispatcher.observers)

    def advance(self) -> None:
        self.number += 1
        self.site.resource("/count").notify()

    async def advance_while_observed(self) -> None:
        """Count up each time that the last number has been acknowledged, for as long as anybody wants to know."""
        while True:
            await trio.sleep(0.01)  # The rhythm of the resource; nothing waits for it.
            if self.observers and self.server.statistics().pending == 0:
                self.advance()


@asynccontextmanager
async def open_counter(host: str, policy: NotificationPolicy) -> AsyncIterator[Counter]:
    site = Site()
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, site, host, 0, parameters=TransmissionParameters()))
        counter = Counter(server, site)

        @site.get("/count", observable=policy)
        def read(request: Request) -> str:
            if request.options.observe == 1:
                counter.deregistered.set()
            return f"{counter.number}"

        yield counter
        nursery.cancel_scope.cancel()


@pytest.fixture
def ticker(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A server made with aiocoap."""
    with running_server(
        "127.0.0.1", lambda port: [sys.executable, str(HERE / "aiocoap_ticker.py"), "127.0.0.1", str(port)]
    ) as peer:
        yield peer


@NEEDS_LIBCOAP
async def test_our_client_observes_the_time_of_libcoap(libcoap: Peer, client: Client) -> None:
    with trio.fail_after(CLIENT_SECONDS):
        async with client.observe(libcoap.uri + "/time") as observation:
            token = observation.request.token
            responses = [await observation.receive() for _ in range(3)]
            assert observation.is_observed
    numbers = [response.options.observe or 0 for response in responses]
    assert numbers == sorted(set(numbers))
    assert responses[1].type is CON
    assert client.endpoint.statistics().tokens == 0
    # It prints what it does: the observer went when the deregistration came.
    assert "removed subscription" in libcoap.log
    assert token.hex() in libcoap.log


@NEEDS_LIBCOAP
async def test_a_resource_of_libcoap_that_is_not_observable(libcoap: Peer, client: Client) -> None:
    async with client.observe(libcoap.uri + "/") as observation:
        with trio.fail_after(CLIENT_SECONDS):
            responses = [response async for response in observation]
        assert [response.code for response in responses] == [Code.CONTENT]
        assert not observation.is_observed


@NEEDS_LIBCOAP
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("confirmable", [True, False], ids=["CON", "NON"])
async def test_the_client_of_libcoap_observes_ours(host: str, confirmable: bool) -> None:
    async with (
        open_counter(host, NotificationPolicy(confirmable=confirmable)) as counter,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(counter.advance_while_observed)
        done = await libcoap_client("-s", "1", "-B", "5", "-v", "7", counter.uri)
        nursery.cancel_scope.cancel()
    notifications = [seen for seen in done.messages if seen.way == "received" and "Observe:" in seen.options]
    assert len(notifications) >= 2
    payloads = [int(seen.payload) for seen in notifications]
    assert payloads == sorted(payloads)
    assert [seen.options for seen in done.messages if seen.way == "sent" and "Observe:1" in seen.options]


@NEEDS_LIBCOAP
async def test_the_deregistration_of_libcoap_ends_it() -> None:
    async with open_counter("127.0.0.1", NotificationPolicy()) as counter:
        await libcoap_client("-s", "1", "-B", "3", counter.uri)
        with trio.fail_after(CLIENT_SECONDS):
            await counter.deregistered.wait()
        assert counter.observers == 0


@NEEDS_AIOCOAP
async def test_our_client_observes_aiocoap(ticker: Peer, client: Client) -> None:
    uri = ticker.uri + "/ticks"
    with trio.fail_after(CLIENT_SECONDS):
        async with client.observe(uri) as observation:
            texts = [(await observation.receive()).text]
            for _ in range(3):
                await client.post(uri)
                texts.append((await observation.receive()).text)
    assert texts == ["0", "1", "2", "3"]
    assert client.endpoint.statistics().tokens == 0


@NEEDS_AIOCOAP
@pytest.mark.parametrize("size", [None, 64])
async def test_our_client_observes_long_states_of_aiocoap(size: int | None, ticker: Peer, client: Client) -> None:
    uri = ticker.uri + "/long"
    with trio.fail_after(CLIENT_SECONDS):
        async with client.observe(uri, block_size=size) as observation:
            texts = [(await observation.receive()).text]
            for _ in range(2):
                await client.post(uri)
                texts.append((await observation.receive()).text)
    assert texts == [f"{number:4}" * 1000 for number in range(3)]
    assert client.endpoint.statistics().tokens == 0


@NEEDS_LIBCOAP
@pytest.mark.parametrize("size", [None, 64])
async def test_our_client_observes_long_states_of_libcoap(size: int | None, libcoap: Peer, client: Client) -> None:
    uri = libcoap.uri + "/example_data"
    states = [f"{number:4}" * 500 for number in range(3)]
    with trio.fail_after(CLIENT_SECONDS):
        await client.put(uri, states[0])
        async with client.observe(uri, block_size=size) as observation:
            texts = [(await observation.receive()).text]
            for state in states[1:]:
                await client.put(uri, state)
                texts.append((await observation.receive()).text)
    assert texts == states
    assert client.endpoint.statistics().tokens == 0


@NEEDS_LIBCOAP
async def test_discovery_of_libcoap(libcoap: Peer, client: Client) -> None:
    links = await client.discover(libcoap.uri, obs=True)
    assert f"{libcoap.uri}/time" in [link.target for link in links]
    assert all(link.is_observable for link in links)


@NEEDS_AIOCOAP
async def test_discovery_of_aiocoap(ticker: Peer, client: Client) -> None:
    links = await client.discover(ticker.uri, href="/l*")
    assert [link.target for link in links] == [f"{ticker.uri}/long"]


@NEEDS_AIOCOAP
@pytest.mark.parametrize("confirmable", [True, False], ids=["CON", "NON"])
async def test_the_client_of_aiocoap_observes_ours(confirmable: bool) -> None:
    policy = NotificationPolicy(confirmable=confirmable, max_non=1)
    async with open_counter("127.0.0.1", policy) as counter, trio.open_nursery() as nursery:
        nursery.start_soon(counter.advance_while_observed)
        done = await run_client(sys.executable, str(HERE / "aiocoap_watcher.py"), counter.uri, "3")
        nursery.cancel_scope.cancel()
        assert done.status == 0, done.stderr
    numbers = [int(line) for line in done.stdout.split()]
    assert numbers[0] == 0
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 3

"""With 30 % of the datagrams lost on the way, in both directions.

What is lost depends on a seed, the direction and the number of the datagram: by a relay of ours, which each client has for
itself, or by the peers' own option ``-l``, which takes the numbers of what the program shall not send.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from tests.interop.house import House, open_house
from tests.interop.peers import (
    AIOCOAP_CLIENT,
    NEEDS_AIOCOAP,
    NEEDS_LIBCOAP,
    Finished,
    Peer,
    aiocoap_client,
    aiocoap_server,
    libcoap_client,
    libcoap_server,
    run_client,
)
from trio_coap import CON, Client, Code, Endpoint, TransmissionParameters, open_client
from trio_coap.testing import LossyRelay, open_relay

pytestmark = [pytest.mark.interop, pytest.mark.slow]

LOSS = 0.3

Ask = Callable[..., Awaitable[Finished]]

PARAMETERS = TransmissionParameters(ack_timeout=0.1, ack_random_factor=1.2, max_retransmit=8, empty_ack_delay=0.03)
"""With both ways lossy, one try in two works: eight repetitions are enough, and the first ones cost little."""

SEED = 161
"""With this one twelve requests, one after the other, lose 26 % of what they send and 29 % of what comes back, but take three
tries at most: each one more takes twice as long."""

GENTLE_SEEDS = (0, 4, 5, 7, 10, 14, 18)
"""With these a peer that first waits for 2 to 3 s, then for 4 to 6 s, repeats a request once at most.  Among the first
two datagrams in each direction, all of a separate response, they lose each at least once."""

SOME = "2,5,8,11,14,17,20,23,26"
"""For ``-l``: libcoap 4.3.1 takes no more than nine numbers or ranges, and prints its usage for more."""


@pytest.fixture
async def house(nursery: trio.Nursery) -> House:
    return await open_house(nursery, "127.0.0.1", PARAMETERS)


def target_of(uri: str) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=int(uri.rpartition(":")[2]))


@asynccontextmanager
async def lossy_client(peer: Peer) -> AsyncIterator[tuple[Client, LossyRelay]]:
    """A client of ours whose relative URIs lead through a relay to *peer*."""
    async with (
        open_relay(target_of(peer.uri), loss=LOSS, seed=SEED) as relay,
        open_client(base_uri=relay.uri, parameters=PARAMETERS) as client,
    ):
        with trio.fail_after(60):
            yield client, relay


def assert_lossy(relay: LossyRelay) -> None:
    """The relay has lost something in both directions, and about as much as it should."""
    for direction in (relay.forward, relay.back):
        assert direction.dropped > 0
        assert 0.1 < direction.dropped / (direction.dropped + direction.passed) < 0.5


def assert_nothing_is_left(client: Client) -> None:
    statistics = client.endpoint.statistics()
    assert (statistics.tokens, statistics.pending) == (0, 0)
    assert statistics.retransmissions > 0


# Our client asks.


@NEEDS_LIBCOAP
async def test_our_client_and_libcoap_server() -> None:
    async def put_and_get() -> None:
        async with lossy_client(peer) as (client, relay):
            for number in range(6):
                # libcoap does not recognize duplicates: if its 2.01 is lost, it says 2.04 to the same PUT.
                put = await client.put("/new", f"text {number}")
                assert put.code in (Code.CREATED, Code.CHANGED)
                assert (await client.get("/new")).text == f"text {number}"
        assert_lossy(relay)
        assert_nothing_is_left(client)

    async def get_a_separate_response_that_is_lost() -> None:
        # Back come the empty acknowledgement, the response, and the response again after 2 to 3 s.
        async with (
            open_relay(target_of(peer.uri), drop_back={2}) as relay,
            open_client(base_uri=relay.uri) as client,
        ):
            response = await client.get("/async?1")
        assert (response.text, response.type) == ("done", CON)
        assert relay.back.dropped == 1
        assert client.endpoint.statistics().retransmissions == 0

    with libcoap_server("127.0.0.1") as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put_and_get)
            nursery.start_soon(get_a_separate_response_that_is_lost)


@NEEDS_AIOCOAP
async def test_our_client_and_aiocoap_server() -> None:
    with aiocoap_server("127.0.0.1") as peer:
        async with lossy_client(peer) as (client, relay):
            # aiocoap does recognize duplicates: its handler runs once for each request.
            for number in range(1, 9):
                assert (await client.post("/count")).text == str(number)
            for _ in range(2):
                response = await client.get("/slow")
                assert (response.text, response.type) == ("late", CON)
        assert_lossy(relay)
        assert_nothing_is_left(client)


@NEEDS_LIBCOAP
async def test_our_client_and_a_libcoap_server_that_does_not_send_everything() -> None:
    with libcoap_server("127.0.0.1", "-l", SOME) as peer:
        async with open_client(base_uri=peer.uri, parameters=PARAMETERS) as client:
            with trio.fail_after(60):
                for number in range(6):
                    await client.put("/new", f"text {number}")
                    assert (await client.get("/new")).text == f"text {number}"
            assert_nothing_is_left(client)
        assert "Packet 2 dropped" in peer.log


# Their clients ask.


@pytest.mark.parametrize(
    ("ask", "seeds"),
    [
        pytest.param(libcoap_client, GENTLE_SEEDS, id="libcoap", marks=NEEDS_LIBCOAP),
        # As many of these at a time as two processors can start before the first ones repeat their requests.
        pytest.param(aiocoap_client, GENTLE_SEEDS[:4], id="aiocoap", marks=NEEDS_AIOCOAP),
    ],
)
async def test_their_clients_ask_our_server(house: House, ask: Ask, seeds: tuple[int, ...]) -> None:
    expected = {f"POST /count/{seed}": "1" for seed in seeds} | {f"GET /slow/{seed}": f"late{seed}" for seed in seeds}
    printed: dict[str, str] = {}
    dropped: list[int] = []

    async def run(call: str) -> None:
        method, path = call.split()
        async with open_relay(target_of(house.uri), loss=LOSS, seed=path.rpartition("/")[2]) as relay:
            done = await ask("-m", method.lower(), relay.uri + path)
            printed[call] = done.stdout.rstrip("\n")
            dropped.append(relay.forward.dropped + relay.back.dropped)

    async with trio.open_nursery() as nursery:
        for call in expected:
            nursery.start_soon(run, call)
    assert printed == expected
    assert sorted(house.calls) == sorted(expected)
    # More than that are lost, but a relay need not see what its client sends last.
    assert sum(dropped) >= 3
    assert house.server is not None
    assert house.server.statistics().duplicates > 0
    assert house.server.statistics().retransmissions > 0


@NEEDS_AIOCOAP
async def test_aiocoap_asks_our_server(house: House) -> None:
    requests = ["POST:/count/a"] * 8 + ["GET:/slow"] * 2 + ["GET:/nowhere"]
    async with open_relay(target_of(house.uri), loss=LOSS, seed=SEED) as relay:
        done = await run_client(sys.executable, str(AIOCOAP_CLIENT), relay.uri, *requests)
        assert_lossy(relay)
    assert done.stdout.splitlines() == [
        *(f"2.04 {number}" for number in range(1, 9)),
        *(["2.05 late"] * 2),
        "4.04 there is nothing at /nowhere",
    ]
    assert house.calls == ["POST /count/a"] * 8 + ["GET /slow"] * 2
    assert house.server is not None
    assert house.server.statistics().duplicates > 0


@NEEDS_LIBCOAP
async def test_libcoap_client_that_does_not_send_everything(house: House) -> None:
    done: dict[str, Finished] = {}

    async def run(lost: str, *arguments: str) -> None:
        done[lost] = await libcoap_client("-v", "7", "-l", lost, *arguments)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "1", "-m", "post", "-e", "x", house.uri + "/count/a")
        nursery.start_soon(run, "2", house.uri + "/slow/b")
    # Its log says "sent" of what it lost, too.
    assert "Packet 1 dropped" in done["1"].stdout
    assert done["1"].exchange == ["sent CON POST", "sent CON POST", "received ACK 2.04"]
    assert "Packet 2 dropped" in done["2"].stdout
    # It ends when it has the response, although nobody saw its acknowledgement; perhaps not before we repeat ours.
    assert done["2"].exchange[:4] == ["sent CON GET", "received ACK 0.00", "received CON 2.05", "sent ACK 0.00"]
    assert sorted(house.calls) == ["GET /slow/b", "POST /count/a"]

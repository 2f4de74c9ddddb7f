"""The ping (RFC 7252 section 4.3)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left
from trio_coap import Code, NetworkError, TransmissionParameters, TransmissionTimeout, UriError, open_client
from trio_coap.testing import VirtualNetwork, open_pair


async def test_a_server_answers_with_a_reset(autojump_clock: MockClock) -> None:
    async with open_pair(lambda request: None, latency=0.25) as (client, server):
        assert await client.ping("/ignored") == pytest.approx(0.5)
        sent, received = server.endpoint.network.trace  # type: ignore[attr-defined]
        assert (sent.octets[:2], received.octets[:2]) == (b"\x40\x00", b"\x70\x00")
        assert sent.octets[2:] == received.octets[2:]
        assert_nothing_is_left(client.endpoint)


async def test_an_acknowledgement_shows_that_somebody_is_there_too(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.client.ping, scene.peer.uri)
        scene.peer.acknowledge(await scene.peer.receive())
    assert_nothing_is_left(scene.endpoint)


async def test_nobody_answers(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(TransmissionTimeout) as info:
        await scene.client.ping(scene.peer.uri)
    assert info.value.transmissions == 5
    assert_nothing_is_left(scene.endpoint)


async def test_nobody_listens_on_the_port(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(NetworkError):
        await scene.client.ping(f"{scene.peer.uri}:99")


async def test_a_network_that_is_down(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(NetworkError):
        await scene.client.ping("coap://[2001:db8::1]")
    assert_nothing_is_left(scene.endpoint)


async def test_an_endpoint_that_closes(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def ping() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await scene.client.ping(scene.peer.uri)

        nursery.start_soon(ping)
        await scene.peer.receive()
        scene.endpoint.close()


async def test_a_cancelled_ping_is_not_repeated(scene: Scene, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await scene.client.ping(scene.peer.uri)
    assert scope.cancelled_caught
    assert_nothing_is_left(scene.endpoint)
    await scene.peer.receive()
    assert await scene.peer.hears_nothing(300)


async def test_a_ping_that_waits_for_its_turn_does_not_count_the_wait(scene: Scene, autojump_clock: MockClock) -> None:
    """The round trip starts when the ping goes out, not when NSTART holds it back."""
    times = []

    async def ping() -> None:
        times.append(await scene.client.ping(scene.peer.uri))

    async with trio.open_nursery() as nursery:
        async with scene.client.request(Code.GET, scene.uri):
            await scene.peer.receive()
            nursery.start_soon(ping)
            await trio.sleep(1)
        scene.peer.reset(await scene.peer.receive())
    assert times == [pytest.approx(0.002)]


async def test_what_is_no_uri_is_the_callers_mistake(scene: Scene) -> None:
    with pytest.raises(UriError):
        await scene.client.ping("peer")


async def test_the_next_address_is_pinged_when_one_does_not_answer(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("10.9.0.1", "10.9.0.2", name="both", port_unreachable=True)
    async with (
        coap_network.open_endpoint("client") as endpoint,
        open_client(endpoint=endpoint) as client,
        coap_network.open_endpoint("10.9.0.2", 5683) as second,
    ):
        assert await client.ping("coap://both") < 1
        assert await client.ping("coap://both", remote=second.remote) < 1
        with pytest.raises(NetworkError):
            await client.ping("coap://10.9.0.1", parameters=TransmissionParameters(max_retransmit=0))

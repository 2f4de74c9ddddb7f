"""How requests fail: the exception says what happened, to whom, after how many transmissions and how long."""

from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, open_peer
from trio_coap import (
    ACK,
    Client,
    Code,
    Limits,
    LocalProtocolError,
    Message,
    NetworkError,
    PendingLimitReached,
    ResetReceived,
    Response,
    TransmissionParameters,
    TransmissionTimeout,
    open_client,
)
from trio_coap.testing import VirtualNetwork


async def test_nobody_there(scene: Scene, autojump_clock: MockClock) -> None:
    started_at = trio.current_time()
    with pytest.raises(TransmissionTimeout) as info:
        await scene.client.get(scene.uri)
    assert trio.current_time() - started_at == pytest.approx(93)
    assert str(info.value) == f"no acknowledgement: {scene.peer.uri}, sent 5 times in 93 s"
    assert info.value.destination_endpoint is scene.peer.remote
    assert info.value.transmissions == 5
    assert info.value.elapsed == pytest.approx(93)
    assert_nothing_is_left(scene.endpoint)


async def test_a_reset(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        await scene.peer.receive()
        scene.peer.reset(await scene.peer.receive())
        with pytest.raises(ResetReceived) as info:
            await handle.receive()
    assert str(info.value).startswith(f"reset by the peer: {scene.peer.uri}, sent 2 times in ")
    assert 2 <= info.value.elapsed <= 3.01
    assert_nothing_is_left(scene.endpoint)


async def test_a_reset_of_a_non_confirmable_request(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri, confirmable=False) as handle:
        scene.peer.reset(await scene.peer.receive())
        with pytest.raises(ResetReceived):
            await handle.receive()


async def test_a_port_on_which_nobody_listens(scene: Scene, autojump_clock: MockClock) -> None:
    started_at = trio.current_time()
    with pytest.raises(NetworkError) as info:
        await scene.client.get(f"{scene.peer.uri}:99/r")
    assert trio.current_time() - started_at == pytest.approx(0.002)
    assert "port 99 of" in str(info.value)
    assert str(info.value).endswith(f"{scene.peer.uri}:99, sent once in 0.002 s")
    assert isinstance(info.value.os_error, ConnectionRefusedError)
    assert_nothing_is_left(scene.endpoint)


async def test_a_network_that_is_down(scene: Scene, autojump_clock: MockClock) -> None:
    """What fails at once is no exception out of entering, but the result."""
    async with scene.client.request(Code.GET, "coap://[2001:db8::1]/r") as handle:  # The client has no IPv6.
        with pytest.raises(NetworkError) as info:
            await handle.receive()
    assert info.value.os_error.errno == errno.ENETUNREACH
    assert_nothing_is_left(scene.endpoint)


async def test_an_endpoint_that_closes_while_a_request_waits(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        await scene.peer.receive()
        scene.endpoint.close()
        with pytest.raises(trio.ClosedResourceError, match="the endpoint was closed"):
            await handle.receive()


async def test_everybody_who_waits_learns_that_the_endpoint_has_closed(scene: Scene, autojump_clock: MockClock) -> None:
    closed = []

    async def ask(uri: str) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await scene.client.get(uri)
        closed.append(uri)

    async def ping(uri: str) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await scene.client.ping(uri)
        closed.append(uri)

    async with trio.open_nursery() as nursery:
        for number in range(3):  # All but the first wait for their turn.
            nursery.start_soon(ask, f"{scene.uri}/{number}")
        nursery.start_soon(ping, scene.peer.uri)
        await trio.sleep(1)
        scene.endpoint.close()
    assert len(closed) == 4


async def test_a_request_from_an_endpoint_that_is_closed(scene: Scene, autojump_clock: MockClock) -> None:
    scene.endpoint.close()
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        await scene.client.get(scene.uri)
    with pytest.raises(trio.ClosedResourceError, match="is closed"):
        await scene.client.ping(scene.uri)


async def test_too_many_requests_in_the_queue(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    limits = Limits(max_pending_per_remote=1)
    async with (
        coap_network.open_endpoint("client", limits=limits) as endpoint,
        open_client(endpoint=endpoint) as client,
    ):
        with open_peer(coap_network) as peer:
            async with client.request(Code.GET, peer.uri), client.request(Code.GET, peer.uri):
                with pytest.raises(PendingLimitReached):
                    await client.get(peer.uri)
                assert endpoint.statistics().tokens == 2
    assert_nothing_is_left(endpoint)


# Names with several addresses.


async def fetch_from_both(client: Client) -> Response:
    return await client.get("coap://both/r")


async def test_the_next_address_is_tried_after_a_failure(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("10.1.0.1", "10.1.0.2", name="both")
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network, "10.1.0.2") as peer:
            async with client.request(Code.GET, "coap://both/r") as handle:
                request = await peer.receive()
                peer.piggyback(request)
                assert (await handle.receive()).payload == b"piggybacked"
            first, second = coap_network.trace.select(destination="both")
    assert first.destination.hostinfo == "10.1.0.1"
    assert second.destination.hostinfo == "10.1.0.2"
    assert first.message is not None
    assert second.message is not None
    assert first.message.token != second.message.token
    assert second.message.options.uri_host == "both"
    assert_nothing_is_left(endpoint)


async def test_the_next_address_is_tried_after_silence(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    coap_network.host("10.1.0.1", "10.1.0.2", name="both", port_unreachable=False)
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with pytest.raises(TransmissionTimeout) as info:
            await fetch_from_both(client)
        assert info.value.destination_endpoint.hostinfo == "10.1.0.2"
        assert trio.current_time() == pytest.approx(2 * 93)
        assert endpoint.statistics().tx_messages == 10
    assert_nothing_is_left(endpoint)


async def test_an_address_that_cannot_even_be_sent_to_is_passed_over(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("2001:db8::1", "2001:db8::2", "10.1.0.2", name="both")
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network, "10.1.0.2") as peer:
            async with client.request(Code.GET, "coap://both/r") as handle:
                peer.piggyback(await peer.receive())
                assert (await handle.receive()).payload == b"piggybacked"
                assert handle.request.destination_endpoint is peer.remote
    assert_nothing_is_left(endpoint)


async def test_with_all_addresses_unreachable_the_last_ones_error_is_raised(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("2001:db8::1", "10.1.0.1", "2001:db8::2", name="both")
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with pytest.raises(NetworkError) as info:
            await fetch_from_both(client)
        assert info.value.destination_endpoint.hostinfo == "[2001:db8::2]"
    assert_nothing_is_left(endpoint)


async def test_after_a_reset_no_other_address_is_tried(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    coap_network.host("10.1.0.1", "10.1.0.2", name="both")
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network, "10.1.0.1") as peer:
            async with client.request(Code.GET, "coap://both/r") as handle:
                peer.reset(await peer.receive())
                with pytest.raises(ResetReceived):
                    await handle.receive()
        assert len(coap_network.trace.select(destination="both")) == 1


async def test_once_acknowledged_no_other_address_is_tried(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("10.1.0.1", "10.1.0.2", name="both")
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network, "10.1.0.1") as peer:
            async with client.request(Code.GET, "coap://both/r") as handle:
                request = await peer.receive()
                peer.acknowledge(request)
                with trio.move_on_after(1000) as scope:
                    await handle.receive()
        assert scope.cancelled_caught
        assert {record.destination.hostinfo for record in coap_network.trace.select(destination="both")} == {"10.1.0.1"}


async def test_a_late_answer_of_the_address_before_does_not_disturb(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("10.1.0.1", "10.1.0.2", name="both")
    quick = TransmissionParameters(max_retransmit=0)
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network, "10.1.0.1") as first, open_peer(coap_network, "10.1.0.2") as second:
            async with client.request(Code.GET, "coap://both/r", parameters=quick) as handle:
                late = await first.receive()
                request = await second.receive()
                first.reset(late)
                first.piggyback(late, Response(Code.CONTENT, b"of the first"))
                await trio.sleep(0.1)
                second.piggyback(request, Response(Code.CONTENT, b"of the second"))
                assert (await handle.receive()).payload == b"of the second"
    assert_nothing_is_left(endpoint)


async def test_an_address_with_a_full_queue_ends_the_request_and_nothing_else(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """The engine reports the failure of the first address; sending to the second one must not raise into it."""
    coap_network.host("10.1.0.1", "10.1.0.2", name="both", port_unreachable=False)
    limits = Limits(max_pending_per_remote=1)
    patient = TransmissionParameters(ack_timeout=1000)
    async with (
        coap_network.open_endpoint("client", limits=limits) as endpoint,
        open_client(endpoint=endpoint) as client,
    ):
        async with (
            client.request(Code.GET, "coap://10.1.0.2/busy", parameters=patient),
            client.request(Code.GET, "coap://10.1.0.2/waiting", parameters=patient),
        ):
            with pytest.raises(PendingLimitReached):
                await fetch_from_both(client)
            assert endpoint.statistics().tokens == 2
        with pytest.raises(TransmissionTimeout):
            await client.get("coap://10.1.0.1/still-at-work")


async def test_a_group_among_the_addresses_ends_a_confirmable_request_and_nothing_else(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("10.1.0.1", "224.0.1.187", name="odd")
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with pytest.raises(LocalProtocolError, match="Non-confirmable"):
            await client.get("coap://odd/r")
        with open_peer(coap_network) as peer:
            async with client.request(Code.GET, peer.uri) as handle:
                peer.piggyback(await peer.receive())
                await handle.receive()
    assert_nothing_is_left(endpoint)


async def test_a_confirmable_request_to_a_group_is_the_callers_mistake(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(LocalProtocolError, match="Non-confirmable"):
        await scene.client.get("coap://224.0.1.187/r")
    assert_nothing_is_left(scene.endpoint)


async def test_a_group_is_not_asked_for_one_answer(scene: Scene, autojump_clock: MockClock) -> None:
    """Nobody would take what the members answer: it comes from other addresses than the request went to."""
    client, uri = scene.client, "coap://224.0.1.187/r"
    refused = pytest.raises(LocalProtocolError, match=r"224\.0\.1\.187 is a group.* multicast\(\)")
    with trio.fail_after(10):
        with refused:
            await client.get(uri, confirmable=False)
        for request in (
            client.request(Code.GET, uri, confirmable=False),
            client.observe(uri, confirmable=False),
            client.stream(Code.GET, uri, confirmable=False),
        ):
            with refused:
                await request.__aenter__()
    assert_nothing_is_left(scene.endpoint)


async def test_an_empty_acknowledgement_from_elsewhere_does_not_count(scene: Scene, autojump_clock: MockClock) -> None:
    with open_peer(scene.network, "other") as other:
        async with scene.client.request(Code.GET, scene.uri) as handle:
            request = await scene.peer.receive()
            other.send(Message(type=ACK, message_id=request.message_id), scene.endpoint.remote)
            with pytest.raises(TransmissionTimeout) as info:
                await handle.receive()
        assert info.value.transmissions == 5

"""The handle of a request: what entering, receiving and leaving mean."""

from __future__ import annotations

import math
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, reply
from trio_coap import (
    CON,
    Code,
    LocalProtocolError,
    ResetReceived,
    Response,
    TransmissionParameters,
    TransmissionTimeout,
    open_client,
    serve,
)
from trio_coap.testing import VirtualNetwork


async def test_nothing_is_sent_before_the_handle_is_entered(scene: Scene, autojump_clock: MockClock) -> None:
    handle = scene.client.request(Code.GET, scene.uri)
    assert handle.transmissions == 0
    with pytest.raises(LocalProtocolError, match="before the handle is entered"):
        _ = handle.request
    with pytest.raises(LocalProtocolError, match="before the handle is entered"):
        await handle.receive()
    assert await scene.peer.hears_nothing(300)


async def test_a_handle_is_entered_once(scene: Scene, autojump_clock: MockClock) -> None:
    handle = scene.client.request(Code.GET, scene.uri)
    async with handle:
        with pytest.raises(LocalProtocolError, match="entered once"):
            await handle.__aenter__()
        scene.peer.piggyback(await scene.peer.receive())
        assert (await handle.receive()).payload == b"piggybacked"
    with pytest.raises(LocalProtocolError, match="entered once"):
        await handle.__aenter__()


async def test_receiving_after_leaving_is_an_error(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        pass
    with pytest.raises(trio.ClosedResourceError):
        await handle.receive()
    assert_nothing_is_left(scene.endpoint)


async def test_leaving_while_another_task_receives_wakes_it(scene: Scene, autojump_clock: MockClock) -> None:
    handle = scene.client.request(Code.GET, scene.uri)

    async def receive() -> None:
        with pytest.raises((trio.ClosedResourceError, trio.EndOfChannel)):
            await handle.receive()

    async with trio.open_nursery() as nursery, handle:
        nursery.start_soon(receive)
        await trio.sleep(1)


async def test_there_is_one_response_to_receive(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive())
        await handle.receive()
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await handle.receive()


async def test_iterating_gives_the_response_and_ends(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive())
        assert [response.payload async for response in handle] == [b"piggybacked"]
        assert [response.payload async for response in handle] == []


async def test_iterating_over_a_request_that_fails_raises(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.reset(await scene.peer.receive())
        with pytest.raises(ResetReceived):
            [response async for response in handle]


async def test_a_failure_can_be_received_again(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        for _ in range(2):
            with pytest.raises(TransmissionTimeout) as info:
                await handle.receive()
            assert info.value.__cause__ is None
            assert info.value.__suppress_context__


async def test_a_response_that_came_before_receiving_is_kept(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive())
        await trio.sleep(1000)
        assert (await handle.receive()).payload == b"piggybacked"


async def test_leaving_with_a_response_that_nobody_received(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri):
        scene.peer.piggyback(await scene.peer.receive())
        await trio.sleep(1)
    assert_nothing_is_left(scene.endpoint)


async def test_an_exception_in_the_body_ends_the_request_and_comes_out_as_itself(
    scene: Scene, autojump_clock: MockClock
) -> None:
    with pytest.raises(KeyError):
        async with scene.client.request(Code.GET, scene.uri):
            raise KeyError("lamp")
    assert_nothing_is_left(scene.endpoint)
    await scene.peer.receive()
    assert await scene.peer.hears_nothing(300)


async def test_transmissions_are_counted(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        assert handle.transmissions == 1
        await trio.sleep(3.01)
        assert handle.transmissions == 2
        await trio.sleep(80)
        assert handle.transmissions == 5


async def test_the_request_shows_its_token_and_message_id(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        assert (handle.request.token, handle.request.message_id) == (request.token, request.message_id)


async def test_leaving_stops_retransmission_and_a_late_response_is_reset(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri):
        request = await scene.peer.receive()
    assert await scene.peer.hears_nothing(100)
    scene.peer.send(reply(request, Response(Code.CONTENT), type=CON, message_id=7))
    assert (await scene.peer.receive()).encode() == bytes.fromhex("70000007")


# NSTART (RFC 7252 section 4.7).


async def test_a_second_request_to_one_host_waits_for_the_first(scene: Scene, autojump_clock: MockClock) -> None:
    async with (
        scene.client.request(Code.GET, f"{scene.uri}/1") as first,
        scene.client.request(Code.GET, f"{scene.uri}/2") as second,
    ):
        request = await scene.peer.receive()
        await trio.sleep(1)
        assert (first.transmissions, second.transmissions) == (1, 0)
        assert scene.endpoint.statistics().pending == 1
        scene.peer.acknowledge(request)
        request = await scene.peer.receive()
        assert request.options.uri_path == ("r", "2")
        assert second.transmissions == 1


async def test_requests_that_wait_go_out_in_their_order(scene: Scene, autojump_clock: MockClock) -> None:
    paths = []
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(scene.client.get, f"{scene.uri}/{number}")
            await trio.sleep(0.001)
        for _ in range(5):
            request = await scene.peer.receive()
            paths.append(request.options.uri_path[1])
            scene.peer.piggyback(request)
    assert paths == ["0", "1", "2", "3", "4"]


async def test_requests_to_different_hosts_do_not_wait_for_each_other(scene: Scene, autojump_clock: MockClock) -> None:
    async with (
        scene.client.request(Code.GET, scene.uri) as first,
        scene.client.request(Code.GET, f"{scene.peer.uri}:5685/r") as second,
    ):
        assert (first.transmissions, second.transmissions) == (1, 1)


async def test_a_non_confirmable_request_does_not_wait_for_a_slot(scene: Scene, autojump_clock: MockClock) -> None:
    async with (
        scene.client.request(Code.GET, scene.uri),
        scene.client.request(
            Code.GET, scene.uri, confirmable=False, parameters=TransmissionParameters(probing_rate=math.inf)
        ) as second,
    ):
        await scene.peer.receive()
        request = await scene.peer.receive()
        assert request.token == second.request.token


async def test_a_non_confirmable_request_to_who_is_silent_waits_for_the_probing_rate(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with (
        scene.client.request(Code.GET, scene.uri, confirmable=False) as first,
        scene.client.request(Code.GET, scene.uri, confirmable=False) as second,
    ):
        await scene.peer.receive()
        sent_at = trio.current_time()
        assert (first.transmissions, second.transmissions) == (1, 0)
        await scene.peer.receive()
        assert trio.current_time() - sent_at == pytest.approx(len(first.request.encode()))


async def test_after_leaving_the_first_the_second_goes_out_at_once(scene: Scene, autojump_clock: MockClock) -> None:
    first = scene.client.request(Code.GET, scene.uri)
    await first.__aenter__()
    async with scene.client.request(Code.GET, scene.uri) as second:
        assert second.transmissions == 0
        await first.__aexit__(None, None, None)
        assert second.transmissions == 1


async def test_one_that_waits_can_be_left_without_a_trace(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, f"{scene.uri}/1") as first:
        await scene.peer.receive()
        async with scene.client.request(Code.GET, f"{scene.uri}/2"):
            pass
        assert scene.endpoint.statistics().pending == 0
        with pytest.raises(TransmissionTimeout):
            await first.receive()
    octets = {record.octets for record in scene.network.trace.select(destination="peer")}
    assert len(octets) == 1


async def test_a_response_from_the_second_address_is_not_followed_by_the_error_of_the_first(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    coap_network.host("10.9.0.1", "10.9.0.2", name="both", port_unreachable=True)
    async with (
        coap_network.open_endpoint("client") as endpoint,
        open_client(endpoint=endpoint) as client,
        coap_network.open_endpoint("10.9.0.2", 5683) as second,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(partial(serve, lambda request: "here", endpoint=second))
        async with client.request(Code.GET, "coap://both/r") as handle:
            assert [response.text async for response in handle] == ["here"]
            with pytest.raises(trio.EndOfChannel):
                await handle.receive()
        async with client.observe("coap://both/r") as observation:
            assert [response.text async for response in observation] == ["here"]
        nursery.cancel_scope.cancel()

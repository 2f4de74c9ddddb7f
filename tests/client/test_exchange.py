"""Requests and responses over a network that loses, doubles and delays (RFC 7252 sections 4.2, 4.5 and 5.2)."""

from __future__ import annotations

import gc

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, reply
from trio_coap import ACK, CON, NON, RST, Block, BodyTooLarge, Client, CoapError, Code, MessageType, Request, Response
from trio_coap.client.attempt import Attempt
from trio_coap.client.exchange import Exchange
from trio_coap.testing import DROP, DUPLICATE, VirtualNetwork, delay, open_pair


async def slow(request: Request) -> str:
    await trio.sleep(3)
    return "slow"


async def test_a_piggybacked_response(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive())
        response = await handle.receive()
    assert (response.type, response.payload) == (ACK, b"piggybacked")
    assert handle.transmissions == 1
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize("type", [CON, NON])
async def test_a_separate_response(type: MessageType, scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.acknowledge(request)
        await trio.sleep(200)
        scene.peer.send(reply(request, Response(Code.CONTENT, b"late"), type=type, message_id=7))
        assert (await handle.receive()).payload == b"late"
    if type is CON:
        acknowledgement = await scene.peer.receive()
        assert (acknowledgement.type, acknowledgement.message_id) == (ACK, 7)
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


async def test_a_separate_response_later_than_the_message_is_remembered(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.acknowledge(request)
        await trio.sleep(1000)
        assert scene.endpoint.statistics().remotes == 0
        scene.peer.send(reply(request, Response(Code.CONTENT, b"late"), type=CON, message_id=7))
        assert (await handle.receive()).payload == b"late"
    assert (await scene.peer.receive()).type is ACK


async def test_a_response_before_the_acknowledgement_stops_retransmission(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """RFC 7252 section 5.2.2: the response also says that the request has arrived."""
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.send(reply(request, Response(Code.CONTENT, b"first"), type=CON, message_id=7))
        assert (await handle.receive()).payload == b"first"
        scene.peer.acknowledge(request)
    assert (await scene.peer.receive()).type is ACK
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


async def test_a_lost_acknowledgement_is_made_good_by_the_response(autojump_clock: MockClock) -> None:
    async with open_pair(slow) as (client, server):
        server.endpoint.network.script([DROP], source="server")  # type: ignore[attr-defined]
        assert (await client.get("/r")).text == "slow"
        await trio.sleep(300)
        assert client.endpoint.statistics().retransmissions <= 1


async def test_a_lost_request_is_sent_again(autojump_clock: MockClock) -> None:
    async with open_pair(lambda request: "here") as (client, server):
        network = server.endpoint.network  # type: ignore[attr-defined]
        network.script([DROP, DROP], destination="server")
        assert (await client.get("/r")).text == "here"
        assert client.endpoint.statistics().retransmissions == 2
        assert len({record.octets for record in network.trace.select(destination="server")}) == 1


async def test_a_lost_piggybacked_response_is_asked_for_again_and_the_handler_runs_once(
    autojump_clock: MockClock,
) -> None:
    calls = []

    def handler(request: Request) -> str:
        calls.append(request)
        return f"{len(calls)}"

    async with open_pair(handler) as (client, server):
        server.endpoint.network.script([DROP], source="server")  # type: ignore[attr-defined]
        assert (await client.post("/r")).text == "1"
    assert len(calls) == 1


async def test_a_lost_separate_response_is_sent_again(autojump_clock: MockClock) -> None:
    async with open_pair(slow) as (client, server):
        server.endpoint.network.script({2: DROP}, source="server")  # type: ignore[attr-defined]
        assert (await client.get("/r")).text == "slow"
        await trio.sleep(300)
        assert server.statistics().retransmissions == 1


async def test_a_lost_acknowledgement_of_a_separate_response_is_repeated(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        response = reply(request, Response(Code.CONTENT, b"late"), type=CON, message_id=7)
        for _ in range(3):
            scene.peer.send(response)
            assert (await scene.peer.receive()).encode() == bytes.fromhex("60000007")
        assert (await handle.receive()).payload == b"late"
    scene.peer.send(response)
    assert (await scene.peer.receive()).encode() == bytes.fromhex(
        "60000007"
    )  # Even after leaving: it is no unknown token.


async def test_duplicates_of_everything_are_harmless(autojump_clock: MockClock) -> None:
    async with open_pair(slow) as (client, server):
        server.endpoint.network.add_filter(lambda datagram: DUPLICATE)  # type: ignore[attr-defined]
        async with client.request(Code.GET, "/r") as handle:
            assert [response.text async for response in handle] == ["slow"]
        await trio.sleep(300)
        assert_nothing_is_left(client.endpoint)
        assert client.endpoint.statistics().duplicates > 0


async def test_a_duplicate_of_a_piggybacked_response_is_ignored(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.piggyback(request)
        scene.peer.piggyback(request, Response(Code.CONTENT, b"another"))
        assert [response.payload async for response in handle] == [b"piggybacked"]
    assert await scene.peer.hears_nothing(300)


async def test_a_second_response_of_its_own_message_is_reset(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.piggyback(request)
        await handle.receive()
        scene.peer.send(reply(request, Response(Code.CONTENT), type=CON, message_id=7))
        assert (await scene.peer.receive()).encode() == bytes.fromhex("70000007")


async def test_responses_out_of_order_find_their_requests(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> bytes:
        await trio.sleep(10 - int(request.payload) / 10)
        return request.payload

    payloads = [b"%d" % number for number in range(20)]
    results: dict[bytes, bytes] = {}

    async def ask(client: Client, payload: bytes) -> None:
        results[payload] = (await client.post("/r", payload)).payload

    async with open_pair(handler, network=coap_network) as (client, _), trio.open_nursery() as nursery:
        for payload in payloads:
            nursery.start_soon(ask, client, payload)
    assert results == {payload: payload for payload in payloads}


async def test_a_late_first_transmission_does_no_harm(autojump_clock: MockClock) -> None:
    calls = []

    def handler(request: Request) -> str:
        calls.append(request)
        return "here"

    async with open_pair(handler) as (client, server):
        server.endpoint.network.script([delay(30)], destination="server")  # type: ignore[attr-defined]
        assert (await client.get("/r")).text == "here"
        await trio.sleep(60)
        assert len(calls) == 1
        assert server.statistics().duplicates == 1


@pytest.mark.parametrize("seed", range(10))
async def test_requests_get_through_with_heavy_loss_duplication_and_reordering(
    seed: int, autojump_clock: MockClock
) -> None:
    handlers = []

    async def handler(request: Request) -> bytes:
        handlers.append(request.payload)
        await trio.sleep(0.2)
        return request.payload

    async with open_pair(handler, seed=seed, loss=0.3, duplication=0.2, reordering=0.3) as (client, server):
        for number in range(10):
            payload = b"%d" % number
            with trio.move_on_after(600) as scope:
                assert (await client.post("/r", payload)).payload == payload
            assert not scope.cancelled_caught
        await trio.sleep(600)
        assert sorted(handlers) == sorted(b"%d" % number for number in range(10))
        assert client.endpoint.statistics().sent == server.statistics().sent == 0
        assert client.endpoint.statistics().received == server.statistics().received == 0


async def test_a_non_confirmable_response_that_nobody_waits_for_is_reset(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """RFC 7252 section 4.3: a NON that lacks context is rejected; with a Reset, here."""
    scene.peer.send(Response(Code.CONTENT, type=NON, message_id=9, token=b"x"), scene.endpoint.remote)
    assert (await scene.peer.receive()).type is RST


@pytest.mark.parametrize("ending", ["response", "failure", "cancelling"])
async def test_an_exchange_leaves_nothing_to_the_garbage_collector(
    ending: str, scene: Scene, autojump_clock: MockClock
) -> None:
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            if ending != "failure":
                nursery.start_soon(answer_after_a_second, scene)
            with trio.move_on_after(0.5 if ending == "cancelling" else 300):
                if ending == "failure":
                    with pytest.raises(CoapError):
                        await scene.client.get(scene.uri)
                else:
                    await scene.client.get(scene.uri)
        left = [thing for thing in gc.get_objects() if isinstance(thing, (Exchange, Attempt))]
    finally:
        gc.enable()
    assert left == []


async def test_what_is_wrong_in_the_middle_of_a_transfer_leaves_nothing_to_the_garbage_collector(
    scene: Scene, autojump_clock: MockClock
) -> None:
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_blocks, scene, 3)
            with pytest.raises(BodyTooLarge):
                await scene.client.get(scene.uri, max_body=40)
        left = [thing for thing in gc.get_objects() if isinstance(thing, (Exchange, Attempt, BodyTooLarge))]
    finally:
        gc.enable()
    assert left == []


async def answer_blocks(scene: Scene, count: int) -> None:
    for number in range(count):
        block = Response(Code.CONTENT, bytes(16), block2=Block.of(number, True, 16))
        scene.peer.piggyback(await scene.peer.receive(), block)


async def answer_after_a_second(scene: Scene) -> None:
    request = await scene.peer.receive()
    await trio.sleep(1)
    scene.peer.piggyback(request)


async def test_a_response_after_cancelling_in_the_same_moment_is_not_taken(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.client.get, scene.uri)
        request = await scene.peer.receive()
        nursery.cancel_scope.cancel()
        # The task has been woken, and has not run yet: nobody wakes it a second time.
        octets = reply(request, Response(Code.CONTENT, b"too late"), type=ACK).encode()
        scene.endpoint.datagram_received(octets, scene.peer.remote, trio.current_time())
    assert nursery.cancel_scope.cancelled_caught
    assert_nothing_is_left(scene.endpoint)


class Interrupted(BaseException):
    """Like KeyboardInterrupt, but pytest does not mind."""


async def test_a_request_that_is_interrupted_while_it_is_sent_does_not_disturb_closing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def interrupt(*arguments: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(type(scene.endpoint), "transmit", interrupt)
        with pytest.raises(Interrupted):
            await scene.client.get(scene.uri)
    scene.endpoint.close()
    assert_nothing_is_left(scene.endpoint)

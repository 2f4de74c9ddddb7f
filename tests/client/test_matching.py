"""Which response belongs to which request (RFC 7252 section 5.3), and which one is rejected (section 5.4.1)."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, open_peer, reply
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Code,
    MessageType,
    Options,
    Response,
    UnprocessableResponse,
    open_client,
)
from trio_coap.messaging.randomness import RANDOM_BLOCK
from trio_coap.testing import VirtualNetwork
from trio_coap.wire.message import Message


def with_unknown_option(number: int, value: bytes = b"") -> Response:
    return Response(Code.CONTENT, b"odd", options=Options.from_wire(((number, value),)))


async def test_a_response_from_another_remote_is_not_taken(scene: Scene, autojump_clock: MockClock) -> None:
    with open_peer(scene.network, "other") as other:
        async with scene.client.request(Code.GET, scene.uri) as handle:
            request = await scene.peer.receive()
            other.send(reply(request, Response(Code.CONTENT, b"forged"), type=ACK), scene.endpoint.remote)
            other.send(reply(request, Response(Code.CONTENT, b"forged"), type=CON, message_id=9), scene.endpoint.remote)
            assert (await other.receive()).encode() == bytes.fromhex("70000009")
            scene.peer.piggyback(request)
            assert (await handle.receive()).payload == b"piggybacked"


async def test_a_response_from_another_port_is_not_taken(scene: Scene, autojump_clock: MockClock) -> None:
    with open_peer(scene.network, "peer", 5685) as other:
        async with scene.client.request(Code.GET, scene.uri) as handle:
            request = await scene.peer.receive()
            other.send(reply(request, Response(Code.CONTENT, b"forged"), type=ACK), scene.endpoint.remote)
            await trio.sleep(0.1)
            scene.peer.piggyback(request)
            assert (await handle.receive()).payload == b"piggybacked"


@pytest.mark.parametrize("type", [CON, NON])
async def test_a_separate_response_with_another_token_is_not_taken(
    type: MessageType, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.acknowledge(request)
        token = bytes((request.token[0] ^ 1, *request.token[1:]))
        for number, wrong in enumerate((token, b"", request.token + b"\0", request.token[:-1])):
            scene.peer.send(
                reply(request, Response(Code.CONTENT, b"forged"), type=type, message_id=number, token=wrong)
            )
            assert (await scene.peer.receive()).encode() == bytes((0x70, 0, 0, number))
        scene.peer.send(reply(request, Response(Code.CONTENT, b"real"), type=NON, message_id=99))
        assert (await handle.receive()).payload == b"real"


async def test_a_piggybacked_response_with_another_token_is_ignored(scene: Scene, autojump_clock: MockClock) -> None:
    """RFC 7252 section 4.2: rejecting an ACK is ignoring it; the request is sent again."""
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.send(reply(request, Response(Code.CONTENT, b"forged"), type=ACK, token=b"other"))
        scene.peer.piggyback(await scene.peer.receive())
        assert (await handle.receive()).payload == b"piggybacked"
        assert handle.transmissions == 2


async def test_an_acknowledgement_with_another_message_id_is_ignored(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        assert request.message_id is not None
        scene.peer.send(Message(type=ACK, message_id=request.message_id ^ 1))
        assert (await scene.peer.receive()).message_id == request.message_id
        assert handle.transmissions == 2


class ScriptedRandom(random.Random):
    """Gives octets that the test has chosen before its own, and notes how many it was asked for."""

    def __init__(self, *chosen: bytes) -> None:
        super().__init__(0)
        self.asked_for: list[int] = []
        self._chosen = b"".join(chosen)

    def randbytes(self, n: int) -> bytes:
        self.asked_for.append(n)
        octets = self._chosen[:n]
        self._chosen = self._chosen[n:]
        return octets + super().randbytes(n - len(octets))


TIMEOUT = bytes(4)
"""What the timeout of a request is made from, behind its token."""


async def test_tokens_come_from_the_random_source(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    rng = ScriptedRandom(b"wxyz")
    async with (
        coap_network.open_endpoint("client", rng=rng) as endpoint,
        open_client(endpoint=endpoint) as client,
        client.request(Code.GET, "coap://10.9.9.9/r") as handle,
    ):
        assert handle.request.token == b"wxyz"
        # Those of the next requests are drawn with it.
        assert rng.asked_for == [RANDOM_BLOCK]


async def test_no_two_outstanding_requests_to_one_remote_have_the_same_token(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    rng = ScriptedRandom(b"same", TIMEOUT, b"same", b"same", b"else", TIMEOUT)
    async with coap_network.open_endpoint("client", rng=rng) as endpoint, open_client(endpoint=endpoint) as client:
        async with (
            client.request(Code.GET, "coap://10.9.9.9/1") as one,
            client.request(Code.GET, "coap://10.9.9.9/2") as two,
        ):
            assert (one.request.token, two.request.token) == (b"same", b"else")
        async with client.request(Code.GET, "coap://10.9.9.9/3") as three:
            assert three.request.token not in (b"same", b"else")


async def test_tokens_of_many_requests_differ(scene: Scene, autojump_clock: MockClock) -> None:
    tokens = set()
    for _ in range(200):
        async with scene.client.request(Code.GET, scene.uri) as handle:
            tokens.add(handle.request.token)
    assert len(tokens) == 200
    assert {len(token) for token in tokens} == {4}


# An unknown critical option.


async def test_a_confirmable_response_with_an_unknown_critical_option_is_reset(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.send(reply(request, with_unknown_option(65001), type=CON, message_id=7))
        with pytest.raises(UnprocessableResponse, match="65001") as info:
            await handle.receive()
    assert info.value.problem.number == 65001
    assert info.value.response.payload == b"odd"
    assert (await scene.peer.receive()).encode() == bytes.fromhex("70000007")
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


async def test_a_non_confirmable_response_with_an_unknown_critical_option_is_dropped_in_silence(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri, confirmable=False) as handle:
        request = await scene.peer.receive()
        scene.peer.send(reply(request, with_unknown_option(65001), type=NON, message_id=7))
        with pytest.raises(UnprocessableResponse, match="65001"):
            await handle.receive()
    assert await scene.peer.hears_nothing(300)


async def test_a_piggybacked_response_with_an_unknown_critical_option_is_dropped_in_silence(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive(), with_unknown_option(65001))
        with pytest.raises(UnprocessableResponse, match="65001"):
            await handle.receive()
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize(("number", "name"), [(11, "Uri-Path"), (19, "Q-Block1"), (9, "OSCORE")])
async def test_a_critical_option_that_is_known_but_not_processed_is_unknown_too(
    number: int, name: str, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive(), with_unknown_option(number))
        with pytest.raises(UnprocessableResponse, match=name):
            await handle.receive()


@pytest.mark.parametrize(("number", "value"), [(65000, b""), (14, bytes(5)), (12, bytes(3)), (8, b"\xff"), (4, b"")])
async def test_an_elective_option_that_is_unknown_or_malformed_is_ignored(
    number: int, value: bytes, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive(), with_unknown_option(number, value))
        response = await handle.receive()
    assert response.payload == b"odd"
    assert (response.options.max_age, response.options.content_format, response.options.etag) == (None, None, None)


async def test_a_malformed_response_is_reset_and_the_request_goes_on(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.send(bytes((0x44, 0x45, 0, 7)) + request.token + b"\xff")
        assert (await scene.peer.receive()).encode() == bytes.fromhex("70000007")
        scene.peer.piggyback(request)
        assert (await handle.receive()).payload == b"piggybacked"


@pytest.mark.parametrize("type", [CON, NON, ACK, RST])
async def test_a_request_in_the_place_of_a_response_is_not_taken(
    type: MessageType, scene: Scene, autojump_clock: MockClock
) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        echo = request.replace()
        echo.type = type
        scene.peer.send(echo)
        await trio.sleep(0.1)
        scene.peer.piggyback(request)
        assert (await handle.receive()).payload == b"piggybacked"

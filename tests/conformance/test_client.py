"""Strict by default: what a client keeps to, one test for each item.

More cases of most of them stand in the tests of the modules.
"""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.abc import Clock

from tests.client.scene import Scene, open_scene
from tests.client.support import open_peer, reply
from tests.client.test_blockwise import block1, block2, play, shown
from tests.messaging.engine import OTHER, PEER, get, make_engine
from tests.patience import passing, time_is_virtual
from trio_coap import NON, Code, Response, TransmissionParameters, open_client
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS
from trio_coap.testing import VirtualNetwork

MESSAGE_IDS = 1 << 16
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


async def test_client_tokens(network: VirtualNetwork, clock: Clock | None) -> None:
    """Client: tokens are unpredictable (RFC 7252 section 5.3.1): 32 bits from the random source, which on a socket is the
    system's, and none of them twice at a time.
    """
    tokens = set()
    async with open_client() as on_socket:
        assert type(on_socket.endpoint.rng).__name__ == "SystemRandom"
    async with open_scene(network) as scene:
        for number in range(300):
            async with scene.client.request(Code.GET, f"{scene.uri}/{number}", confirmable=False) as handle:
                tokens.add(handle.request.token)
    assert len(tokens) == 300
    assert {len(token) for token in tokens} == {4}
    # Neither are they counted up: 300 numbers in a row differ in their last octets only.
    assert len({token[0] for token in tokens}) > 100


@pytest.mark.slow
def test_client_message_ids() -> None:
    """Client: a message ID is not used again for a remote within its lifetime (RFC 7252 section 4.4): when there is none left,
    the next message waits until the first one has been there for EXCHANGE_LIFETIME, that to another remote does not.
    """
    engine = make_engine()
    for _ in range(MESSAGE_IDS):
        engine.send(get(), PEER).complete(engine.now)
    assert len({datagram.message.message_id for datagram in engine.outbox}) == MESSAGE_IDS
    engine.take()
    waiting = engine.send(get(), PEER)
    assert (waiting.message_id, engine.outbox) == (None, [])
    assert engine.send(get(), OTHER).transmissions == 1
    lifetime = engine.parameters.exchange_lifetime
    engine.run_until(lifetime - 0.001)
    assert waiting.transmissions == 0
    engine.run_until(lifetime + 0.001)
    assert waiting.transmissions == 1


async def test_client_nstart(scene: Scene, nursery: trio.Nursery, clock: Clock | None) -> None:
    """Client: NSTART (1) holds per remote (RFC 7252 section 4.7): the second request waits for the answer to the first, that to
    another remote does not.
    """
    nursery.start_soon(scene.client.get, f"{scene.uri}/1")
    nursery.start_soon(scene.client.get, f"{scene.uri}/2")
    first = await scene.peer.receive()
    assert await scene.peer.hears_nothing(1)
    with open_peer(scene.network, "other") as other:
        nursery.start_soon(scene.client.get, f"{other.uri}/3")
        other.piggyback(await other.receive())
    scene.peer.piggyback(first)
    second = await scene.peer.receive()
    assert second.message_id != first.message_id
    scene.peer.piggyback(second)


async def test_client_probing_rate(network: VirtualNetwork, clock: Clock | None) -> None:
    """Client: PROBING_RATE holds per remote (RFC 7252 section 4.7): to one that does not answer, NON requests go at one octet
    in a second on average; at a hundred in real time.
    """
    rate = 1 if time_is_virtual() else 100
    parameters = attrs.evolve(DEFAULT_PARAMETERS, probing_rate=rate)
    async with open_scene(network, parameters=parameters) as scene, trio.open_nursery() as nursery:

        async def ask(uri: str) -> None:
            await scene.client.get(uri, confirmable=False)

        started_at = trio.current_time()
        for number in range(5):
            nursery.start_soon(ask, f"{scene.uri}/{number}")
        sizes = [len(await scene.peer.receive_octets()) for _ in range(5)]
        lasted = trio.current_time() - started_at
        expected = sum(sizes[:-1]) / rate
        assert expected - 0.01 <= lasted <= expected + 1
        with open_peer(scene.network, "other") as other:
            nursery.start_soon(ask, other.uri)
            with trio.fail_after(1):
                await other.receive_octets()
        nursery.cancel_scope.cancel()


async def test_client_matching(scene: Scene, clock: Clock | None) -> None:
    """Client: a response is bound to remote and token (RFC 7252 section 5.3.2): neither one from elsewhere with the token, nor
    one from there with another token, is taken.
    """
    async with scene.client.request(Code.GET, scene.uri) as handle:
        request = await scene.peer.receive()
        scene.peer.acknowledge(request)
        with open_peer(scene.network, "other") as other:
            forged = reply(request, Response(Code.CONTENT, b"forged"), type=NON, message_id=1)
            other.send(forged, scene.endpoint.remote)
        scene.peer.send(reply(request, Response(Code.CONTENT, b"forged"), type=NON, message_id=2, token=b"none"))
        await trio.sleep(passing(1))
        scene.peer.send(reply(request, Response(Code.CONTENT, b"real"), type=NON, message_id=3))
        assert (await handle.receive()).payload == b"real"


async def test_client_echo(scene: Scene, clock: Clock | None) -> None:
    """Client: 4.01 with Echo is answered by the same request with the Echo (RFC 9175 section 2.3)."""
    answers = [Response(Code.UNAUTHORIZED, echo=b"fresh?"), Response(Code.CHANGED)]
    response, (first, again) = await play(scene, lambda: scene.client.post(f"{scene.uri}?q=1", "on"), answers)
    assert isinstance(response, Response)
    assert response.code is Code.CHANGED
    assert again.payload == first.payload
    assert again.options == first.options.replace(echo=b"fresh?")


async def test_client_smaller_blocks(scene: Scene, clock: Clock | None) -> None:
    """Client: 4.13 with a block size leads to a retry with smaller blocks (RFC 7959 section 2.9.3)."""
    answers = [
        block1(Code.REQUEST_ENTITY_TOO_LARGE, 0, False),
        block1(Code.CONTINUE, 0, True),
        block1(Code.CHANGED, 1, False),
    ]
    response, requests = await play(scene, lambda: scene.client.put(scene.uri, A + B), answers)
    assert isinstance(response, Response)
    assert response.code is Code.CHANGED
    assert shown(requests) == ["PUT", "PUT 1:0/1/16", "PUT 1:1/0/16"]


async def test_client_request_tag(network: VirtualNetwork, clock: Clock | None) -> None:
    """Client: Request-Tag on concurrent Block1 bodies (RFC 9175 section 3): the blocks of one have another tag than those of the
    other.
    """
    bodies: dict[tuple[bytes, ...], bytes] = {}
    parameters = TransmissionParameters(nstart=2)
    async with (
        network.open_endpoint("client", parameters=parameters) as endpoint,
        open_client(endpoint=endpoint) as client,
        trio.open_nursery() as nursery,
    ):
        with open_peer(network) as peer:

            async def put(body: bytes) -> None:
                await client.put(f"{peer.uri}/r", body, block_size=16)

            for body in (A + A, B + B):
                nursery.start_soon(put, body)
            for _ in range(4):
                request = await peer.receive_request()
                block, tag = request.options.block1, request.options.request_tag
                assert block is not None
                bodies[tag] = bodies.get(tag, b"") + request.payload
                peer.piggyback(request, Response(Code.CONTINUE if block.more else Code.CHANGED, block1=block))
    assert sorted(bodies.values()) == [A + A, B + B]


async def test_client_etag(scene: Scene, clock: Clock | None) -> None:
    """Client: the ETag of a block-wise body must stay the same, or the transfer starts again (RFC 7959 section 2.4)."""
    answers = [
        block2(0, True, A, etag=b"1"),
        block2(1, True, B, etag=b"2"),
        block2(0, True, B, etag=b"2"),
        block2(1, False, C, etag=b"2"),
    ]
    response, requests = await play(scene, lambda: scene.client.get(scene.uri), answers)
    assert isinstance(response, Response)
    assert response.payload == B + C
    assert shown(requests) == ["GET", "GET 2:1/0/16", "GET", "GET 2:1/0/16"]

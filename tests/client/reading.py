"""States in blocks, as the tests of observations play them: a consumer, and what the peer answers."""

from __future__ import annotations

import trio

from tests.client.observing import Scene
from trio_coap import Block, Code, Observation, Options, Request, Response

SIZE = 16


def body(number: int) -> bytes:
    return f"state {number}, ".encode() * 4


def block(number: int, index: int, *, observe: int | None = None, etag: bytes | None = None) -> Response:
    """Return a block of the state *number*; its ETag is the number."""
    start = index * SIZE
    more = start + SIZE < len(body(number))
    payload = body(number)[start : start + SIZE]
    options = Options(block2=Block.of(index, more, SIZE), etag=etag or b"%d" % number, observe=observe, max_age=1000)
    return Response(Code.CONTENT, payload, options=options)


BLOCKS = 3
assert all(2 * SIZE < len(body(number)) <= BLOCKS * SIZE for number in range(10))


class Consumer:
    """Receives in a task of its own, and keeps what comes of it."""

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.outcomes: list[Response | Exception] = []

    async def receive(self) -> None:
        try:
            self.outcomes.append(await self.observation.receive())
        except (Exception, trio.EndOfChannel) as exc:
            self.outcomes.append(exc)

    @property
    def last(self) -> Response:
        assert isinstance(self.outcomes[-1], Response), self.outcomes[-1]
        return self.outcomes[-1]


async def register(scene: Scene, number: int = 1, *, observe: int | None = 1) -> Request:
    request = await scene.peer.receive_request()
    assert request.options.observe == 0
    scene.peer.answer(request, block(number, 0, observe=observe))
    return request


async def receive_block_request(scene: Scene) -> Request:
    """Return the next request, which is for a block; acknowledgements of notifications may come before."""
    while True:
        message = await scene.peer.receive()
        if isinstance(message, Request):
            assert message.options.observe is None, message
            return message


async def serve_rest(scene: Scene, number: int) -> None:
    for index in range(1, BLOCKS):
        request = await receive_block_request(scene)
        assert request.options.block2 == Block.of(index, False, SIZE)
        scene.peer.answer(request, block(number, index))


async def receive_whole(scene: Scene, observation: Observation, number: int) -> Response:
    consumer = Consumer(observation)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consumer.receive)
        await serve_rest(scene, number)
    return consumer.last

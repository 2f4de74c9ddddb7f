"""Challenges by a server: 4.01 with an Echo option (RFC 9175 section 2.3); the peer is played by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, open_peer, reply
from tests.client.test_blockwise import A, Ask, B, C, block1, block2, play, shown
from trio_coap import NON, Code, Request, Response


def challenge(echo: bytes = b"fresh?") -> Response:
    return Response(Code.UNAUTHORIZED, echo=echo)


def echoes(requests: list[Request]) -> list[bytes | None]:
    return [request.options.echo for request in requests]


async def test_the_same_request_is_sent_again_with_the_echo(scene: Scene, autojump_clock: MockClock) -> None:
    response, (first, again) = await play(
        scene,
        lambda: scene.client.post(f"{scene.uri}?q=1", "on", accept=42),
        [challenge(), Response(Code.CHANGED)],
    )
    assert isinstance(response, Response)
    assert response.code == Code.CHANGED
    assert (again.code, again.payload, again.type) == (first.code, first.payload, first.type)
    assert again.options == first.options.replace(echo=b"fresh?")
    assert again.token != first.token
    assert again.message_id != first.message_id


async def test_a_second_challenge_in_a_row_is_the_response(scene: Scene, autojump_clock: MockClock) -> None:
    response, requests = await play(scene, lambda: scene.client.get(scene.uri), [challenge(b"one"), challenge(b"two")])
    assert isinstance(response, Response)
    assert (response.code, response.options.echo) == (Code.UNAUTHORIZED, b"two")
    assert echoes(requests) == [None, b"one"]


@pytest.mark.parametrize(
    "answer", [Response(Code.UNAUTHORIZED), Response(Code.FORBIDDEN, echo=b"x"), Response(Code.CONTENT, echo=b"x")]
)
async def test_what_is_no_challenge_is_the_response(answer: Response, scene: Scene, autojump_clock: MockClock) -> None:
    response, _ = await play(scene, lambda: scene.client.get(scene.uri), [answer])
    assert isinstance(response, Response)
    assert (response.code, response.options.echo) == (answer.code, answer.options.echo)


async def test_the_next_request_starts_without_an_echo(scene: Scene, autojump_clock: MockClock) -> None:
    ask: Ask = lambda: scene.client.get(scene.uri)  # noqa: E731
    await play(scene, ask, [challenge(), Response()])
    _, requests = await play(scene, ask, [Response()])
    assert echoes(requests) == [None]


async def test_an_echo_of_the_caller_gives_way_to_that_of_the_challenge(
    scene: Scene, autojump_clock: MockClock
) -> None:
    _, requests = await play(
        scene, lambda: scene.client.get(scene.uri, echo=b"mine"), [challenge(), Response(Code.CONTENT)]
    )
    assert echoes(requests) == [b"mine", b"fresh?"]


async def test_a_non_confirmable_request_is_sent_again_as_one(scene: Scene, autojump_clock: MockClock) -> None:
    responses = []

    async def ask() -> None:
        responses.append(await scene.client.get(scene.uri, confirmable=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        for message_id, answer in enumerate((challenge(), Response(Code.CONTENT, b"yes"))):
            request = await scene.peer.receive_request()
            assert request.type is NON
            scene.peer.send(reply(request, answer, type=NON, message_id=message_id))
    assert responses[0].payload == b"yes"


async def test_the_challenged_block_of_an_upload_is_sent_again(scene: Scene, autojump_clock: MockClock) -> None:
    response, requests = await play(
        scene,
        lambda: scene.client.put(scene.uri, A + B + b"c", block_size=16),
        [
            challenge(b"0"),
            block1(Code.CONTINUE, 0, True),
            block1(Code.CONTINUE, 1, True),
            challenge(b"2"),
            block1(Code.CHANGED, 2, False),
        ],
    )
    assert isinstance(response, Response)
    assert response.code == Code.CHANGED
    assert [line.removesuffix(" 2:0/0/16") for line in shown(requests)] == [
        "PUT 1:0/1/16",
        "PUT 1:0/1/16",
        "PUT 1:1/1/16",
        "PUT 1:2/0/16",
        "PUT 1:2/0/16",
    ]
    assert [request.payload for request in requests] == [A, A, B, b"c", b"c"]
    assert echoes(requests) == [None, b"0", None, None, b"2"]
    assert len({request.options.request_tag for request in requests}) == 1


async def test_the_challenged_block_of_a_download_is_asked_for_again(scene: Scene, autojump_clock: MockClock) -> None:
    response, requests = await play(
        scene, lambda: scene.client.get(scene.uri), [block2(0, True, A), challenge(), block2(1, False, B)]
    )
    assert isinstance(response, Response)
    assert response.payload == A + B
    assert shown(requests) == ["GET", "GET 2:1/0/16", "GET 2:1/0/16"]
    assert echoes(requests) == [None, None, b"fresh?"]


async def test_a_block_in_the_middle_of_an_upload_is_challenged(scene: Scene, autojump_clock: MockClock) -> None:
    response, requests = await play(
        scene,
        lambda: scene.client.put(scene.uri, A + B + C + b"d", block_size=16),
        [
            block1(Code.CONTINUE, 0, True),
            block1(Code.CONTINUE, 1, True),
            challenge(),
            block1(Code.CONTINUE, 2, True),
            block1(Code.CHANGED, 3, False),
        ],
    )
    assert isinstance(response, Response)
    assert response.code == Code.CHANGED
    assert [request.payload for request in requests] == [A, B, C, C, b"d"]
    assert echoes(requests) == [None, None, None, b"fresh?", None]
    assert requests[3].options == requests[2].options.replace(echo=b"fresh?")


async def test_a_block_in_the_middle_of_a_download_is_challenged(scene: Scene, autojump_clock: MockClock) -> None:
    response, requests = await play(
        scene,
        lambda: scene.client.get(scene.uri, echo=b"mine"),
        [block2(0, True, A), block2(1, True, B), challenge(), block2(2, True, C), block2(3, False, b"d")],
    )
    assert isinstance(response, Response)
    assert response.payload == A + B + C + b"d"
    assert shown(requests) == ["GET", "GET 2:1/0/16", "GET 2:2/0/16", "GET 2:2/0/16", "GET 2:3/0/16"]
    assert echoes(requests) == [b"mine", b"mine", b"mine", b"fresh?", b"mine"]


async def test_a_block_that_followed_is_challenged_once(scene: Scene, autojump_clock: MockClock) -> None:
    answers = [block2(0, True, A), block2(1, True, B), challenge(b"one"), challenge(b"two")]
    response, requests = await play(scene, lambda: scene.client.get(scene.uri), answers)
    assert isinstance(response, Response)
    assert (response.code, response.options.echo) == (Code.UNAUTHORIZED, b"two")
    assert echoes(requests) == [None, None, None, b"one"]


async def test_a_single_block_is_asked_for_again(scene: Scene, autojump_clock: MockClock) -> None:
    block = block2(1, False, B)
    _, requests = await play(
        scene, lambda: scene.client.get(scene.uri, block2=block.options.block2), [challenge(), block]
    )
    assert echoes(requests) == [None, b"fresh?"]


async def test_a_stream_answers_challenges(scene: Scene, autojump_clock: MockClock) -> None:
    async def ask() -> Response:
        async with scene.client.stream(Code.PUT, scene.uri, iter([A, B]), block_size=16) as response:
            chunks = [chunk async for chunk in response.stream()]
            return response.head.replace(payload=b"".join(chunks))

    response, requests = await play(
        scene,
        ask,
        [
            challenge(b"0"),
            block1(Code.CONTINUE, 0, True),
            challenge(b"1"),
            Response(Code.CHANGED, A, block1=block1(Code.CHANGED, 1, False).options.block1),
        ],
    )
    assert isinstance(response, Response)
    assert response.payload == A
    assert [request.payload for request in requests] == [A, A, B, B]


async def test_a_handle_leaves_the_challenge_to_its_caller(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        scene.peer.piggyback(await scene.peer.receive_request(), challenge())
        response = await handle.receive()
    assert (response.code, response.options.echo) == (Code.UNAUTHORIZED, b"fresh?")
    assert await scene.peer.hears_nothing()


async def test_the_echo_goes_to_the_address_that_gave_it(scene: Scene, autojump_clock: MockClock) -> None:
    """A name with two addresses, the first of which fails."""
    scene.network.host("2001:db8::1", "10.1.0.3", name="both")
    scene.network.add_address("client", "2001:db8::9")
    responses = []

    async def ask() -> None:
        responses.append(await scene.client.get("coap://both/r"))

    with open_peer(scene.network, "10.1.0.3") as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            peer.piggyback(await peer.receive_request(), challenge())
            request = await peer.receive_request()
            peer.piggyback(request, Response(Code.CONTENT, b"yes"))
    assert request.options.echo == b"fresh?"
    assert responses[0].payload == b"yes"
    sent = [r for r in scene.network.trace.select(source="client") if isinstance(r.message, Request)]
    assert [r.message.options.echo for r in sent if r.message] == [None, None, b"fresh?"]
    assert_nothing_is_left(scene.endpoint)


# Observations.


async def test_a_challenged_registration_is_repeated_with_the_echo(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.uri) as observation:
        first = await scene.peer.receive_request()
        scene.peer.piggyback(first, challenge())
        again = await scene.peer.receive_request()
        assert again.options == first.options.replace(echo=b"fresh?")
        assert again.token != first.token
        assert scene.endpoint.statistics().tokens == 1
        scene.peer.piggyback(again, Response(Code.CONTENT, "state", observe=1))
        assert (await observation.receive()).text == "state"
        assert observation.is_observed
    deregistration = await scene.peer.receive_request()
    assert (deregistration.token, deregistration.options) == (again.token, first.options.replace(observe=1))
    assert_nothing_is_left(scene.endpoint)


async def test_a_challenge_when_registering_again_keeps_the_token(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.uri) as observation:
        first = await scene.peer.receive_request()
        scene.peer.piggyback(first, Response(Code.CONTENT, "1", observe=1, max_age=5))
        assert (await observation.receive()).text == "1"
        second = await scene.peer.receive_request()
        assert second.options.echo is None
        scene.peer.piggyback(second, challenge())
        third = await scene.peer.receive_request()
        assert (third.token, third.options.echo) == (first.token, b"fresh?")
        scene.peer.piggyback(third, Response(Code.CONTENT, "2", observe=2, max_age=5))
        assert (await observation.receive()).text == "2"
        fourth = await scene.peer.receive_request()
        assert fourth.options.echo is None
        scene.peer.piggyback(fourth, challenge(b"again"))
        assert (await scene.peer.receive_request()).options.echo == b"again"
    assert_nothing_is_left(scene.endpoint)


async def test_a_second_challenge_in_a_row_ends_the_observation(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.uri) as observation:
        for _ in range(2):
            scene.peer.piggyback(await scene.peer.receive_request(), challenge())
        assert [response.code async for response in observation] == [Code.UNAUTHORIZED]
    assert await scene.peer.hears_nothing(300)
    assert_nothing_is_left(scene.endpoint)


async def test_leaving_while_challenged_deregisters(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.observe(scene.uri):
        scene.peer.piggyback(await scene.peer.receive_request(), challenge())
        again = await scene.peer.receive_request()
    deregistration = await scene.peer.receive_request()
    assert (deregistration.token, deregistration.options.observe) == (again.token, 1)
    assert_nothing_is_left(scene.endpoint)


# What wants no answer.


async def test_a_challenge_to_what_wants_no_answer_is_answered(scene: Scene, autojump_clock: MockClock) -> None:
    tell: Callable[[], Awaitable[Response | None]] = lambda: scene.client.tell(Code.PUT, scene.uri, "on")  # noqa: E731
    requests = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        for answer in (challenge(), Response(Code.CHANGED)):
            requests.append(await scene.peer.receive_request())
            scene.peer.piggyback(requests[-1], answer)
    assert echoes(requests) == [None, b"fresh?"]
    assert requests[0].token != requests[1].token
    assert_nothing_is_left(scene.endpoint)

"""Bodies in blocks, as a client sends and reads them; the test plays the server, answer by answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, reply
from tests.patience import within
from tests.test_rfc7959_figures import describe
from trio_coap import (
    ACK,
    Block,
    BlockTransferError,
    BodyTooLarge,
    Code,
    LocalProtocolError,
    NetworkError,
    NotFound,
    Progress,
    RepresentationChanged,
    Request,
    Response,
)
from trio_coap.client import blockwise

Ask = Callable[[], Awaitable[Response]]


async def play(scene: Scene, ask: Ask, answers: Sequence[Response]) -> tuple[Response | Exception, list[Request]]:
    """Answer the requests of *ask* one by one; return its outcome and the requests."""
    requests = []
    outcome: list[Response | Exception] = []

    async def run() -> None:
        try:
            outcome.append(await ask())
        except Exception as exc:
            outcome.append(exc)

    with trio.fail_after(within(1000)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            for answer in answers:
                request = await scene.peer.receive_request()
                requests.append(request)
                scene.peer.piggyback(request, answer)
    assert_nothing_is_left(scene.endpoint)
    return outcome[0], requests


def shown(requests: list[Request]) -> list[str]:
    return [describe(request).removeprefix("CON ") for request in requests]


def block2(number: int, more: bool, payload: bytes, size: int = 16, **options: object) -> Response:
    return Response(Code.CONTENT, payload, block2=Block.of(number, more, size), **options)  # type: ignore[arg-type]


def block1(code: Code, number: int, more: bool, size: int = 16) -> Response:
    return Response(code, block1=Block.of(number, more, size))


A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


async def test_late_negotiation_when_the_server_ignores_the_early_one(scene: Scene, autojump_clock: MockClock) -> None:
    """As in RFC 7959 figure 4: the block that came counts for two of ours."""
    response, requests = await play(
        scene,
        lambda: scene.client.get(scene.uri, block_size=16),
        [block2(0, True, A + B, 32), block2(2, True, C), block2(3, False, b"d")],
    )
    assert isinstance(response, Response)
    assert (response.payload, response.options.block2) == (A + B + C + b"d", None)
    assert shown(requests) == ["GET 2:0/0/16", "GET 2:2/0/16", "GET 2:3/0/16"]


async def test_later_requests_have_the_options_of_the_first(scene: Scene, autojump_clock: MockClock) -> None:
    _, requests = await play(
        scene,
        lambda: scene.client.get(f"{scene.uri}?q=1", accept=42, observe=0),
        [block2(0, True, A, observe=5), block2(1, False, B)],
    )
    first, later = (request.options for request in requests)
    assert (first.accept, first.uri_query, first.observe) == (42, ("q=1",), 0)
    assert (later.accept, later.uri_query, later.observe) == (42, ("q=1",), None)


async def test_the_last_response_counts(scene: Scene, autojump_clock: MockClock) -> None:
    response, _ = await play(
        scene,
        lambda: scene.client.get(scene.uri),
        [block2(0, True, A, max_age=10), block2(1, False, B, max_age=20)],
    )
    assert isinstance(response, Response)
    assert response.options.max_age == 20


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([block2(1, True, A)], "begins at octet 16, not at 0"),
        ([block2(0, True, A), block2(2, False, B)], "begins at octet 32, not at 16"),
        ([block2(0, True, A), Response(Code.CONTENT, B)], "begins at octet 0, not at 16"),
        ([block2(0, True, A[1:])], "has 15 octets, not 16"),
        ([block2(0, True, A), block2(1, True, b"")], "has 0 octets, not 16"),
        ([Response(payload=A, block2=Block(0, True, 7))], "reserved size 7"),
        ([block2(0, True, A, content_format=0), block2(1, False, B, content_format=42)], "differ in Content-Format"),
    ],
)
async def test_blocks_that_do_not_fit(
    answers: list[Response], message: str, scene: Scene, autojump_clock: MockClock
) -> None:
    error, _ = await play(scene, lambda: scene.client.get(scene.uri), answers)
    assert isinstance(error, BlockTransferError)
    assert message in str(error)
    assert error.response.payload == answers[-1].payload


@pytest.mark.parametrize(
    ("method", "raised", "error"),
    [("_rawsendto", OSError, NetworkError), ("send", LocalProtocolError, LocalProtocolError)],
)
async def test_a_block_that_cannot_be_sent_ends_the_transfer_with_its_error(
    method: str,
    raised: type[Exception],
    error: type[Exception],
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    """It follows a response at once: who receives that one must not get the error, and who waits must."""

    def fail(*arguments: object, **keywords: object) -> None:
        raise raised("no way")

    async def answer() -> None:
        for number in range(3):
            request = await scene.peer.receive_request()
            if number == 2:
                monkeypatch.setattr(type(scene.endpoint), method, fail)
            octets = reply(request, block2(number, True, A), type=ACK).encode()
            scene.endpoint.datagram_received(octets, scene.peer.remote, trio.current_time())

    progress = Progress()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with pytest.raises(error, match="no way"):
            await scene.client.get(scene.uri, progress=progress)
    assert progress.received == 48
    assert_nothing_is_left(scene.endpoint)


async def test_closing_the_endpoint_between_two_blocks_ends_the_transfer(
    scene: Scene, autojump_clock: MockClock
) -> None:
    async def answer() -> None:
        for number in range(3):
            request = await scene.peer.receive_request()
            octets = reply(request, block2(number, True, A), type=ACK).encode()
            scene.endpoint.datagram_received(octets, scene.peer.remote, trio.current_time())
        scene.endpoint.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with pytest.raises(trio.ClosedResourceError):
            await scene.client.get(scene.uri)
    assert_nothing_is_left(scene.endpoint)


async def test_an_error_instead_of_a_block_is_the_response(scene: Scene, autojump_clock: MockClock) -> None:
    answers = [block2(0, True, A), Response(Code.NOT_FOUND, b"gone")]
    response, _ = await play(scene, lambda: scene.client.get(scene.uri), answers)
    assert isinstance(response, Response)
    assert (response.code, response.payload) == (Code.NOT_FOUND, b"gone")


async def test_an_error_in_blocks_is_put_together(scene: Scene, autojump_clock: MockClock) -> None:
    def blocks() -> list[Response]:
        return [
            Response(Code.BAD_REQUEST, A, block2=Block.of(0, True, 16)),
            Response(Code.BAD_REQUEST, B[:3], block2=Block.of(1, False, 16)),
        ]

    response, requests = await play(scene, lambda: scene.client.get(scene.uri), blocks())
    assert isinstance(response, Response)
    assert (response.code, response.payload, response.options.block2) == (Code.BAD_REQUEST, A + B[:3], None)
    assert len(requests) == 2

    async def read_twice() -> Response:
        async with scene.client.stream(Code.GET, scene.uri) as stream:
            return Response(stream.code, b"".join([chunk async for chunk in stream]))

    streamed, _ = await play(scene, read_twice, blocks())
    assert isinstance(streamed, Response)
    assert streamed.payload == A + B[:3]


async def test_a_block_of_another_code_does_not_fit(scene: Scene, autojump_clock: MockClock) -> None:
    answers = [block2(0, True, A), Response(Code.CHANGED, B, block2=Block.of(1, False, 16))]
    outcome, _ = await play(scene, lambda: scene.client.get(scene.uri), answers)
    assert isinstance(outcome, BlockTransferError)
    assert "a block of a 2.05 Content is a 2.04 Changed" in str(outcome)


async def test_a_body_beyond_the_last_block_number_is_an_error_of_the_transfer(
    scene: Scene, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 MiB in blocks of 16 octets."""
    monkeypatch.setattr(blockwise, "MAX_BLOCK_NUMBER", 1)
    outcome, _ = await play(scene, lambda: scene.client.get(scene.uri), [block2(0, True, A), block2(1, True, B)])
    assert isinstance(outcome, BlockTransferError)
    assert "there is more" in str(outcome)
    with pytest.raises(LocalProtocolError, match="too small for the body"):
        await scene.client.put(scene.uri, b"x" * 33, block_size=16)


async def test_a_stream_that_broke_off_does_not_look_complete(scene: Scene, autojump_clock: MockClock) -> None:
    errors: list[NotFound] = []

    async def read_on() -> Response:
        async with scene.client.stream(Code.GET, scene.uri) as stream:
            assert await stream.receive_some() == A
            for _ in range(2):
                try:
                    await stream.receive_some()
                except NotFound as exc:
                    errors.append(exc)
            return stream.head

    await play(scene, read_on, [block2(0, True, A), Response(Code.NOT_FOUND)])
    assert len(errors) == 2


async def test_another_etag_starts_the_transfer_again(scene: Scene, autojump_clock: MockClock) -> None:
    progress = Progress()
    response, requests = await play(
        scene,
        lambda: scene.client.get(scene.uri, progress=progress),
        [
            block2(0, True, A, etag=b"1"),
            block2(1, True, B, etag=b"2"),
            block2(0, True, B, etag=b"2"),
            block2(1, False, C, etag=b"2"),
        ],
    )
    assert isinstance(response, Response)
    assert response.payload == B + C
    assert shown(requests) == ["GET", "GET 2:1/0/16", "GET", "GET 2:1/0/16"]
    assert (progress.received, progress.to_receive) == (32, 32)


async def test_2_03_instead_of_a_block_starts_the_transfer_again(scene: Scene, autojump_clock: MockClock) -> None:
    """The representation has become the one that the caller has; a validated request must not fail for it."""
    response, requests = await play(
        scene,
        lambda: scene.client.get(scene.uri, etag=b"1"),
        [block2(0, True, A, etag=b"2"), Response(Code.VALID, etag=b"1"), Response(Code.VALID, etag=b"1")],
    )
    assert isinstance(response, Response)
    assert response.code is Code.VALID
    assert shown(requests) == ["GET", "GET 2:1/0/16", "GET"]


async def test_a_representation_that_changes_all_the_time_is_an_error(scene: Scene, autojump_clock: MockClock) -> None:
    answers = [block2(turn % 2, True, A, etag=bytes([turn])) for turn in range(8)]
    error, _ = await play(scene, lambda: scene.client.get(scene.uri), answers)
    assert isinstance(error, RepresentationChanged)


async def test_a_post_is_not_repeated_for_another_etag(scene: Scene, autojump_clock: MockClock) -> None:
    answers = [block2(0, True, A, etag=b"1"), block2(1, True, B, etag=b"2")]
    error, _ = await play(scene, lambda: scene.client.post(scene.uri, b"x"), answers)
    assert isinstance(error, RepresentationChanged)


@pytest.mark.parametrize(
    "answers",
    [
        [block2(0, True, A), block2(1, True, B), block2(2, True, C)],
        [block2(0, True, A, size2=41)],
        [Response(payload=bytes(41))],
    ],
    ids=["blocks", "announced", "whole"],
)
async def test_a_body_above_the_limit(answers: list[Response], scene: Scene, autojump_clock: MockClock) -> None:
    error, _ = await play(scene, lambda: scene.client.get(scene.uri, max_body=40), answers)
    assert isinstance(error, BodyTooLarge)


async def test_who_names_a_block_gets_that_block(scene: Scene, autojump_clock: MockClock) -> None:
    named = Block.of(3, False, 16)
    response, requests = await play(scene, lambda: scene.client.get(scene.uri, block2=named), [block2(3, True, A)])
    assert isinstance(response, Response)
    assert (response.payload, response.options.block2) == (A, Block(3, True, 0))
    response, requests = await play(
        scene,
        lambda: scene.client.put(scene.uri, A, block1=Block(3, True, 0)),
        [block1(Code.CONTINUE, 3, True)],
    )
    assert isinstance(response, Response)
    assert (response.code, shown(requests)) == (Code.CONTINUE, ["PUT 1:3/1/16"])


async def test_a_fetch_repeats_its_body(scene: Scene, autojump_clock: MockClock) -> None:
    """RFC 8132 section 2: the body is a part of the cache key, that is, of what is asked for."""
    _, requests = await play(
        scene, lambda: scene.client.fetch(scene.uri, b"what"), [block2(0, True, A), block2(1, False, B)]
    )
    assert [request.payload for request in requests] == [b"what", b"what"]


# Uploads.


async def test_an_upload(scene: Scene, autojump_clock: MockClock) -> None:
    progress = Progress()
    response, requests = await play(
        scene,
        lambda: scene.client.put(
            scene.uri, A + B + b"c", block_size=16, if_none_match=True, content_format=42, progress=progress
        ),
        [block1(Code.CONTINUE, 0, True), block1(Code.CONTINUE, 1, True), block1(Code.CREATED, 2, False)],
    )
    assert isinstance(response, Response)
    assert response.code is Code.CREATED
    assert [request.payload for request in requests] == [A, B, b"c"]
    assert [request.options.size1 for request in requests] == [33, None, None]
    assert [request.options.if_none_match for request in requests] == [True, False, False]
    assert [request.options.content_format for request in requests] == [42] * 3
    assert [request.options.request_tag for request in requests] == [(b"",)] * 3
    assert (progress.sent, progress.to_send) == (33, 33)


async def test_concurrent_uploads_have_different_request_tags(scene: Scene, autojump_clock: MockClock) -> None:
    tags: list[tuple[bytes, ...]] = []

    async def put() -> None:
        await scene.client.put(scene.uri, bytes(1025))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(put)
        for _ in range(6):
            request = await scene.peer.receive_request()
            block = request.options.block1
            assert block is not None
            if block.number == 0:
                tags.append(request.options.request_tag)
            code = Code.CONTINUE if block.more else Code.CHANGED
            scene.peer.piggyback(request, Response(code, block1=block))
    assert len(set(tags)) >= 2


async def test_a_request_tag_is_used_again_after_the_answer_but_not_after_a_cancellation(
    scene: Scene, autojump_clock: MockClock
) -> None:
    answers = [block1(Code.CONTINUE, 0, True), block1(Code.CHANGED, 1, False)]
    seen = []
    for _ in range(2):
        _, requests = await play(scene, lambda: scene.client.put(scene.uri, A + B, block_size=16), answers)
        seen.append(requests[0].options.request_tag)
    with trio.move_on_after(1):
        await scene.client.put(scene.uri, A + B, block_size=16)
    await scene.peer.receive_request()
    _, requests = await play(scene, lambda: scene.client.put(scene.uri, A + B, block_size=16), answers)
    assert [*seen, requests[0].options.request_tag] == [(b"",), (b"",), (b"\1",)]


async def test_a_request_tag_is_not_used_again_before_the_whole_response_is_there(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """The requests for the blocks of the response carry it: who had the same would get into them."""
    upload = [block1(Code.CONTINUE, 0, True), block1(Code.CHANGED, 1, False)]
    tags = []
    answers = [upload[0], Response(Code.CONTENT, A, block1=Block.of(1, False, 16), block2=Block.of(0, True, 16))]

    async def read_on() -> Response:
        async with scene.client.stream(Code.POST, scene.uri, A + B, block_size=16):
            return await scene.client.put(scene.uri, A + B, block_size=16)

    async def read_all() -> Response:
        async with scene.client.stream(Code.POST, scene.uri, A + B, block_size=16) as streamed:
            assert b"".join([chunk async for chunk in streamed.stream()]) == A + B
            return await scene.client.put(scene.uri, A + B, block_size=16)

    for read, more in ((read_all, [block2(1, False, B)]), (read_on, [])):
        _, requests = await play(scene, read, [*answers, *more, *upload])
        tags.append((requests[0].options.request_tag, requests[-1].options.request_tag))
    assert tags == [((b"",), (b"",)), ((b"",), (b"\1",))]


async def test_only_short_requests_to_one_resource_at_a_time_have_request_tags(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Their responses may be long, and without a tag the server cannot tell whose blocks are asked for."""
    seen: list[tuple[bytes, ...]] = []

    async def ask(uri: str) -> None:
        with trio.move_on_after(5):
            await scene.client.post(uri, b"x")

    for uris in ([scene.uri, f"{scene.uri}/other"], [scene.uri, scene.uri], [scene.uri]):
        async with trio.open_nursery() as nursery:
            for uri in uris:
                nursery.start_soon(ask, uri)
                with trio.fail_after(1):
                    request = await scene.peer.receive_request()
                scene.peer.acknowledge(request)
                seen.append(request.options.request_tag)
    assert seen == [(), (), (), (b"\1",), ()]


async def test_smaller_blocks_after_4_13(scene: Scene, autojump_clock: MockClock) -> None:
    _, requests = await play(
        scene,
        lambda: scene.client.put(scene.uri, A + B),
        [
            block1(Code.REQUEST_ENTITY_TOO_LARGE, 0, False),
            block1(Code.CONTINUE, 0, True),
            block1(Code.CHANGED, 1, False),
        ],
    )
    assert shown(requests) == ["PUT", "PUT 1:0/1/16", "PUT 1:1/0/16"]


@pytest.mark.parametrize("size", [None, 16, 32])
async def test_4_13_that_names_no_smaller_size_is_the_response(
    size: int | None, scene: Scene, autojump_clock: MockClock
) -> None:
    answer = Response(Code.REQUEST_ENTITY_TOO_LARGE, size1=5, block1=Block.of(0, True, size) if size else None)
    response, _ = await play(scene, lambda: scene.client.put(scene.uri, A + B, block_size=16), [answer])
    assert isinstance(response, Response)
    assert response.options.size1 == 5


async def test_one_restart_after_4_08(scene: Scene, autojump_clock: MockClock) -> None:
    lost = Response(Code.REQUEST_ENTITY_INCOMPLETE)
    response, requests = await play(
        scene,
        lambda: scene.client.put(scene.uri, A + B, block_size=16),
        [block1(Code.CONTINUE, 0, True), lost, block1(Code.CONTINUE, 0, True), lost],
    )
    assert isinstance(response, Response)
    assert response.code is Code.REQUEST_ENTITY_INCOMPLETE
    assert [request.options.request_tag for request in requests] == [(b"",), (b"",), (b"\1",), (b"\1",)]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([Response(Code.CONTINUE)], "no block"),
        ([block1(Code.CONTINUE, 1, True)], "block 1, not for block 0"),
        ([Response(Code.CONTINUE, block1=Block(0, True, 7))], "reserved"),
        ([block1(Code.CONTINUE, 0, True), block1(Code.CONTINUE, 1, True)], "wants more"),
    ],
)
async def test_answers_to_blocks_that_do_not_fit(
    answers: list[Response], message: str, scene: Scene, autojump_clock: MockClock
) -> None:
    error, _ = await play(scene, lambda: scene.client.put(scene.uri, A + B, block_size=16), answers)
    assert isinstance(error, BlockTransferError)
    assert message in str(error)


async def test_a_block_size_that_there_is_not(scene: Scene) -> None:
    with pytest.raises(LocalProtocolError, match="not 100"):
        await scene.client.get(scene.uri, block_size=100)


# Streams.


async def test_a_streamed_response(scene: Scene, autojump_clock: MockClock) -> None:
    progress = Progress()

    async def ask() -> Response:
        async with scene.client.stream(Code.GET, scene.uri, progress=progress) as response:
            assert (response.code, response.options.size2, response.progress) == (Code.CONTENT, 33, progress)
            assert response.raise_for_code() is response
            assert progress.received == 16
            chunks = [chunk async for chunk in response.stream()]
            assert chunks == [A, B, b"c"]
            assert await response.receive_some() == b""
            return response.head

    answers = [block2(0, True, A, size2=33), block2(1, True, B), block2(2, False, b"c")]
    outcome, _ = await play(scene, ask, answers)
    assert isinstance(outcome, Response)
    assert (progress.received, progress.to_receive) == (33, 33)


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (Response(Code.NOT_FOUND), NotFound),
        (block2(1, True, B, etag=b"2"), RepresentationChanged),
        (block2(2, True, B), BlockTransferError),
    ],
)
async def test_a_streamed_response_that_breaks_off(
    second: Response, error: type[Exception], scene: Scene, autojump_clock: MockClock
) -> None:
    async def ask() -> Response:
        async with scene.client.stream(Code.GET, scene.uri) as response:
            assert await response.receive_some() == A
            await response.receive_some()
            raise AssertionError

    outcome, _ = await play(scene, ask, [block2(0, True, A), second])
    assert isinstance(outcome, error)


async def test_a_stream_that_cannot_be_read_twice_is_not_sent_twice(scene: Scene, autojump_clock: MockClock) -> None:
    async def ask() -> Response:
        async with scene.client.stream(Code.PUT, scene.uri, iter([A, B, C]), block_size=16) as response:
            return response.head

    answers = [block1(Code.CONTINUE, 0, True), Response(Code.REQUEST_ENTITY_INCOMPLETE)]
    outcome, requests = await play(scene, ask, answers)
    assert isinstance(outcome, Response)
    assert outcome.code is Code.REQUEST_ENTITY_INCOMPLETE
    assert len(requests) == 2


async def test_a_stream_is_not_of_one_block(scene: Scene) -> None:
    with pytest.raises(LocalProtocolError, match="whole body"):
        async with scene.client.stream(Code.GET, scene.uri, block2=Block(1)):
            raise AssertionError


async def test_size2_asks_for_the_size_of_the_body(scene: Scene, autojump_clock: MockClock) -> None:
    """RFC 7959 section 4: zero in a request."""
    progress = Progress()
    expected: list[int | None] = []

    async def ask() -> Response:
        return await scene.client.get(scene.uri, size2=0, progress=progress)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        first = await scene.peer.receive_request()
        scene.peer.piggyback(first, block2(0, True, A, size2=20))
        later = await scene.peer.receive_request()
        expected.append(progress.to_receive)
        scene.peer.piggyback(later, block2(1, False, b"rest"))
    assert (first.options.size2, later.options.size2) == (0, None)
    assert (expected, progress.received, progress.to_receive) == ([20], 20, 20)

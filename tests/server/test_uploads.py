"""Handlers that read the body of a request while it comes, as a peer sees them that sends block by block."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server import test_blockwise
from tests.server.stage import Stage, make_request, open_stage
from tests.server.test_blockwise import EXCHANGE_LIFETIME, A, B, C
from trio_coap import (
    RST,
    Block,
    BlockLimits,
    BodyIncomplete,
    Code,
    Conflict,
    Handler,
    LocalProtocolError,
    Message,
    Request,
    Response,
    Site,
    StreamedBody,
    StreamedRequest,
    block_policy,
)
from trio_coap.testing import VirtualNetwork

PATIENCE = 93

Open = Callable[..., AbstractAsyncContextManager[Stage]]


class Asking(test_blockwise.Asking):
    """Sends blocks, and acknowledges answers that come in messages of their own."""

    async def __call__(self, code: Code = Code.GET, payload: bytes = b"", **options: object) -> Response:
        answer = await super().__call__(code, payload, **options)
        if answer.is_confirmable:
            self.stage.peer.acknowledge(answer)
        return answer


@pytest.fixture
def opened(coap_network: VirtualNetwork) -> Open:
    def open_it(handler: Handler, **limits: int) -> AbstractAsyncContextManager[Stage]:
        return open_stage(block_policy(streams=True)(handler), coap_network, block_limits=BlockLimits(**limits))

    return open_it


@attrs.define(eq=False)
class Reader:
    """A handler that reads at the pace of the test, and takes down what happens to it."""

    pause: float = 0
    started: int = 0
    bodies: list[bytes] = attrs.Factory(list)
    chunks: list[bytes] = attrs.Factory(list)
    incomplete: list[str] = attrs.Factory(list)
    cancelled: int = 0

    async def read(self, request: StreamedRequest) -> str:
        self.started += 1
        body = b""
        try:
            await trio.sleep(self.pause)
            async for chunk in request.stream():
                body += chunk
                self.chunks.append(chunk)
                await trio.sleep(self.pause)
        except BodyIncomplete as exc:
            self.incomplete.append(str(exc))
            raise
        except trio.Cancelled:
            self.cancelled += 1
            raise
        self.bodies.append(body)
        return f"{request.received} octets"


def as_handler(reader: Reader) -> Handler:
    async def handler(request: Request) -> str:
        assert isinstance(request, StreamedRequest)
        return await reader.read(request)

    return handler


async def test_the_handler_has_each_block_before_the_next_comes(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader()
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        for number, payload in enumerate((A, B)):
            answer = await ask.put(number, True, payload)
            assert (answer.code, answer.options.block1) == (Code.CONTINUE, Block(number, True, 0))
            assert reader.chunks[-1] == payload
        last = await ask.put(2, False, b"c")
        assert (last.code, last.text, last.options.block1) == (Code.CHANGED, "33 octets", Block(2, False, 0))
        assert len(stage.server.blockwise.uploads) == 0
    assert (reader.bodies, reader.started) == ([A + B + b"c"], 1)


async def test_a_body_in_one_message_is_one_chunk(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader()
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        assert (await ask(Code.PUT, A)).text == "16 octets"
        assert (await ask(Code.PUT)).text == "0 octets"
        assert (await ask.put(0, False, B)).text == "16 octets"
        assert (await ask(Code.PUT, C, block2=Block(0))).text == "16 octets"
    assert reader.bodies == [A, b"", B, C]
    assert reader.chunks == [A, B, C]


async def test_what_the_request_tells(opened: Open, autojump_clock: MockClock) -> None:
    seen: list[object] = []

    async def handler(request: StreamedRequest) -> None:
        seen.append((request.code, request.payload, request.options.content_format, request.options.block1))
        seen.append((request.size, request.received))
        await request.receive_some()
        seen.append((request.size, request.replace(payload=b"").received))
        seen.append((await request.receive_some(), await request.receive_some(), request.size))

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A, size1=40, content_format=42)
        await ask.put(1, False, B, content_format=42)
    assert seen == [(Code.PUT, b"", 42, None), (40, 0), (40, 16), (B, b"", 32)]


async def test_a_slow_handler_makes_the_client_wait(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader(pause=10)
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        started_at = trio.current_time()
        stage.send(make_request(code=Code.PUT, message_id=100, payload=A, block1=Block(0, True, 0)))
        assert (await stage.peer.receive()).is_empty
        await trio.sleep(5)
        # Neither a block that is sent once more nor one ahead of its time makes it hold more.
        ahead = await ask.put(1, True, B)
        assert (ahead.code, ahead.options.max_age) == (Code.SERVICE_UNAVAILABLE, 1)
        answer = await stage.peer.receive()
        assert isinstance(answer, Response)
        stage.peer.acknowledge(answer)
        assert answer.code is Code.CONTINUE
        assert trio.current_time() - started_at == pytest.approx(10, abs=0.1)
        answer = await ask.put(1, False, B)
        assert answer.text == "32 octets"
    assert reader.bodies == [A + B]


async def test_a_handler_slower_than_exchange_lifetime_still_gets_its_body(
    opened: Open, autojump_clock: MockClock
) -> None:
    reader = Reader(pause=2 * EXCHANGE_LIFETIME)
    async with opened(as_handler(reader)) as stage:
        stage.send(make_request(code=Code.PUT, message_id=100, payload=A, block1=Block(0, True, 0)))
        await trio.sleep(2 * EXCHANGE_LIFETIME + 1)
        stage.send(make_request(code=Code.PUT, message_id=101, payload=B, block1=Block(1, False, 0)))
        await trio.sleep(10 * EXCHANGE_LIFETIME)
    assert reader.bodies == [A + B]


@pytest.mark.parametrize("pause", [0, 5])
async def test_a_repeated_block_is_answered_again(pause: float, opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader(pause)
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        for number, payload in enumerate((A, B)):
            once, again = [await ask.put(number, True, payload) for _ in range(2)]
            assert (once.code, once.options) == (again.code, again.options)
        once, again = [await ask.put(2, False, C) for _ in range(2)]
        assert (once.code, once.text) == (again.code, again.text) == (Code.CHANGED, "48 octets")
    assert (reader.bodies, reader.started) == ([A + B + C], 1)


async def test_a_block_repeated_while_it_waits_is_answered_with_it(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader(pause=10)
    async with opened(as_handler(reader)) as stage:
        stage.send(make_request(code=Code.PUT, message_id=100, payload=A, block1=Block(0, True, 0)))
        await trio.sleep(1)
        assert (await Asking(stage).put(0, True, A)).code is Code.CONTINUE
        assert reader.started == 1


async def test_the_last_block_repeated_while_the_handler_runs(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader(pause=10)
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        stage.send(make_request(code=Code.PUT, message_id=100, payload=A, block1=Block(0, False, 0)))
        await trio.sleep(1)
        await ask.put(0, True, A)
        stage.send(make_request(code=Code.PUT, message_id=101, payload=B, block1=Block(1, False, 0)))
        await trio.sleep(1)
        busy = await ask.put(1, False, B)
        assert (busy.code, busy.options.max_age) == (Code.SERVICE_UNAVAILABLE, 1)
        await trio.sleep(100)
        assert reader.bodies == [A, A + B]


@pytest.mark.parametrize(("number", "payload"), [(3, C), (0, C), (1, C)])
async def test_a_block_that_does_not_fit_ends_the_body(
    number: int, payload: bytes, opened: Open, autojump_clock: MockClock
) -> None:
    reader = Reader()
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        for block in ((0, True, A), (1, True, B)):
            await ask.put(*block)
        wrong = await ask.put(number, number == 0, payload)
        assert wrong.code is (Code.CONTINUE if number == 0 else Code.REQUEST_ENTITY_INCOMPLETE)
        await wait_all_tasks_blocked()
        assert len(reader.incomplete) == 1
        assert (await ask.put(2, False, C)).code is Code.REQUEST_ENTITY_INCOMPLETE
        assert len(stage.server.blockwise.uploads) == 0
    assert reader.bodies == []


async def test_a_body_whose_client_is_silent_ends_after_exchange_lifetime(
    opened: Open, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader()
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        await trio.sleep(EXCHANGE_LIFETIME - 1)
        assert (await ask.put(1, True, B)).code is Code.CONTINUE
        await trio.sleep(EXCHANGE_LIFETIME - 1)
        assert reader.incomplete == []
        await trio.sleep(2)
        assert reader.incomplete == ["the client is silent"]
        assert (await ask.put(2, False, C)).code is Code.REQUEST_ENTITY_INCOMPLETE
        assert len(stage.server.blockwise.uploads) == 0
    assert not caplog.records


async def test_a_new_body_waits_for_the_end_of_the_handler_of_the_old_one(
    opened: Open, autojump_clock: MockClock
) -> None:
    log: list[str] = []

    async def handler(request: StreamedRequest) -> None:
        log.append("begins")
        try:
            async for _ in request:
                pass
            log.append("has all")
        except BodyIncomplete:
            await trio.sleep(5)
            log.append("has cleaned up")

    async with opened(handler, max_bodies_per_remote=1) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        await ask.put(1, True, B)
        assert (await ask.put(0, True, B)).code is Code.CONTINUE
        assert (await ask.put(1, False, C)).code is Code.CHANGED
    assert log == ["begins", "has cleaned up", "begins", "has all"]


async def test_a_body_that_begins_again_before_its_handler_has_is_handled_once(
    opened: Open, autojump_clock: MockClock
) -> None:
    started: list[Request] = []

    async def handler(request: StreamedRequest) -> None:
        started.append(request)
        try:
            async for _ in request:
                pass
        except BodyIncomplete:
            await trio.sleep(5)

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        for message_id, payload in ((100, B), (101, C)):
            stage.send(make_request(code=Code.PUT, message_id=message_id, payload=payload, block1=Block(0, True, 0)))
        answers: list[Code] = []
        while len(answers) < 2:
            answer = await stage.peer.receive()
            if isinstance(answer, Response):
                stage.peer.acknowledge(answer)
                answers.append(answer.code)
        assert answers == [Code.REQUEST_ENTITY_INCOMPLETE, Code.CONTINUE]
        assert (await ask.put(1, False, A)).code is Code.CHANGED
    assert len(started) == 2


async def test_an_error_before_the_end_answers_the_block_that_waits(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: StreamedRequest) -> None:
        await request.receive_some()
        raise Conflict("not now")

    async with opened(handler) as stage:
        ask = Asking(stage)
        for _ in range(2):
            answer = await ask.put(0, True, A)
            assert (answer.code, answer.text, answer.options.block1) == (Code.CONFLICT, "not now", Block(0, True, 0))
            assert len(stage.server.blockwise.uploads) == 0
        assert (await ask.put(1, True, B)).code is Code.REQUEST_ENTITY_INCOMPLETE


@pytest.mark.parametrize("error", [Conflict("not now"), ValueError("a defect")])
async def test_an_error_while_no_block_waits_answers_the_next(
    error: Exception, opened: Open, autojump_clock: MockClock
) -> None:
    async def handler(request: StreamedRequest) -> None:
        await request.receive_some()
        await request.receive_some()
        raise error

    async with opened(handler) as stage:
        ask = Asking(stage)
        for number, payload in enumerate((A, B)):
            assert (await ask.put(number, True, payload)).code is Code.CONTINUE
        expected = Code.CONFLICT if isinstance(error, Conflict) else Code.INTERNAL_SERVER_ERROR
        assert (await ask.put(2, True, C)).code is expected
        assert len(stage.server.blockwise.uploads) == 0
        again = await ask.put(2, True, C)
        assert again.code is (expected if isinstance(error, Conflict) else Code.REQUEST_ENTITY_INCOMPLETE)
        assert (await ask.put(3, True, C)).code is Code.REQUEST_ENTITY_INCOMPLETE


async def test_an_error_response_before_the_end_ends_the_transfer(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        return Response(Code.UNSUPPORTED_CONTENT_FORMAT)

    async with opened(handler) as stage:
        ask = Asking(stage)
        assert (await ask.put(0, True, A)).code is Code.UNSUPPORTED_CONTENT_FORMAT
        assert (await ask.put(1, True, B)).code is Code.REQUEST_ENTITY_INCOMPLETE
        assert len(stage.server.blockwise.uploads) == 0


async def test_an_error_with_a_stream_before_the_end_ends_the_transfer(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: StreamedRequest) -> StreamedBody:
        await request.receive_some()
        return StreamedBody(iter([b"not", b" now"]), Code.CONFLICT)

    async with opened(handler) as stage:
        ask = Asking(stage)
        answer = await ask.put(0, True, A)
        assert (answer.code, answer.payload) == (Code.CONFLICT, b"not now")
        assert len(stage.server.blockwise.uploads) == 0


async def test_a_success_before_the_end_answers_the_last_block(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: StreamedRequest) -> bytes:
        return await request.receive_some()

    async with opened(handler) as stage:
        ask = Asking(stage)
        for number in range(5):
            answer = await ask.put(number, True, A)
            assert (answer.code, answer.options.block1) == (Code.CONTINUE, Block(number, True, 0))
        last = await ask.put(5, False, C)
        assert (last.code, last.payload) == (Code.CHANGED, A)


async def test_a_plain_function_answers_without_reading(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(lambda request: "done") as stage:
        ask = Asking(stage)
        assert (await ask.put(0, True, A)).code is Code.CONTINUE
        assert (await ask.put(1, False, B)).text == "done"


async def test_a_defect_that_nobody_hears_of_is_logged(
    opened: Open, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: StreamedRequest) -> None:
        await request.receive_some()
        raise ValueError("a defect")

    async with opened(handler) as stage:
        stage.send(make_request(code=Code.PUT, payload=A, block1=Block(0, True, 0)))
        await trio.sleep(2 * EXCHANGE_LIFETIME)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a defect" in str(caplog.records[0].exc_info)


async def test_both_bodies_in_one_exchange_with_different_sizes(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: StreamedRequest) -> AsyncIterator[bytes]:
        body = [chunk async for chunk in request]

        async def answer() -> AsyncIterator[bytes]:
            for chunk in reversed(body):
                yield chunk

        return answer()

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        await ask.put(1, True, B)
        last = await ask.put(2, False, C + C, block2=Block.of(0, False, 32))
        assert (last.payload, last.options.block1, last.options.block2) == (
            C + C,
            Block(2, False, 0),
            Block.of(0, True, 32),
        )
        rest = await ask(Code.PUT, block2=Block.of(1, False, 32))
        assert (rest.payload, rest.options.block1, rest.options.block2) == (B + A, None, Block.of(1, False, 32))


async def test_bodies_with_different_request_tags_stay_apart(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader()
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        for tag, payload in ((b"", A), (b"1", B)):
            await ask.put(0, True, payload, request_tag=[tag])
        for tag, payload in ((b"1", B), (b"", A)):
            await ask.put(1, False, payload, request_tag=[tag])
    assert reader.bodies == [B + B, A + A]


async def test_a_smaller_size_from_the_second_block_on(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader()
    async with opened(as_handler(reader), max_block_size=16) as stage:
        ask = Asking(stage)
        first = await ask.put(0, True, A + B, size=32)
        assert first.options.block1 == Block.of(0, True, 16)
        assert (await ask.put(2, True, C)).code is Code.CONTINUE
        assert (await ask.put(3, False, A)).text == "64 octets"
    assert reader.bodies == [A + B + C + A]


async def test_a_body_above_the_limit_ends(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    reader, site = Reader(), Site()
    site.put("/r")(block_policy(streams=True, max_body=40)(as_handler(reader)))
    async with open_stage(site, coap_network) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        await ask.put(1, True, B)
        for answer in (await ask.put(2, True, C), await ask.put(0, True, A, size1=41)):
            assert (answer.code, answer.options.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, 40)
        assert reader.incomplete == ["a body has at most 40 octets here"]
        assert stage.endpoint.counters.turned_away["max_body"] == 2


async def test_path_parameters_come_as_ever(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()

    @site.put("/r/{number:int}")
    @block_policy(streams=True)
    async def put(request: StreamedRequest, number: int) -> str:
        return f"{number}: {len([chunk async for chunk in request])}"

    async with open_stage(site, coap_network) as stage:
        blocks = [
            make_request("r/7", code=Code.PUT, message_id=number, payload=A, block1=Block(number, number < 1, 0))
            for number in range(2)
        ]
        answers = [await stage.ask(block) for block in blocks]
        assert answers[-1].text == "7: 2"


@pytest.mark.parametrize("sees_blocks", [True, False])
def test_what_cannot_stream(sees_blocks: bool) -> None:
    async def generator(request: Request) -> AsyncIterator[bytes]:
        yield b""

    with pytest.raises(LocalProtocolError, match="cannot stream"):
        block_policy(streams=True, sees_blocks=sees_blocks)(generator if not sees_blocks else lambda request: None)


# Clients that do not want to know any more.


@attrs.define(eq=False)
class Thorough(Reader):
    """Works on for an hour when it has the whole body."""

    async def read(self, request: StreamedRequest) -> str:
        answer = await super().read(request)
        try:
            await trio.sleep(3600)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return answer


def reset_last(ask: Asking) -> None:
    ask.stage.send(Message(type=RST, message_id=ask.message_id))


async def test_a_reset_for_a_block_that_waits_ends_the_body(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader(pause=100)
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        with trio.move_on_after(10):
            await ask.put(0, True, A)
        reset_last(ask)
        await trio.sleep(200)
        assert len(reader.incomplete) == 1
        assert len(stage.server.blockwise.uploads) == 0


async def test_a_reset_while_the_handler_has_the_whole_body_cancels_it(opened: Open, autojump_clock: MockClock) -> None:
    reader = Thorough()
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        with trio.move_on_after(10):
            await ask.put(1, False, B)
        assert reader.bodies == [A + B]
        reset_last(ask)
        await trio.sleep(1)
        assert reader.cancelled == 1
        statistics = stage.server.statistics()
        assert (statistics.running_handlers, statistics.handlers_cancelled) == (0, 1)
        assert len(stage.server.blockwise.uploads) == 0


async def test_a_block_that_comes_once_more_under_its_token_goes_on_waiting(
    opened: Open, autojump_clock: MockClock
) -> None:
    """The first request for it is not waited for any more, but the second one is."""
    reader = Reader(pause=20)
    async with opened(as_handler(reader)) as stage:
        ask = Asking(stage)
        with trio.move_on_after(5):
            await ask.put(0, True, A, token=b"t")
        await ask.put(0, True, A, token=b"t")
        assert stage.server.dispatcher.handlers.cancelled == 1
        assert (await ask.put(1, False, B)).text == "32 octets"
        assert reader.started == 1


async def test_clients_that_lose_interest_leave_room_for_others(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    reader = Reader(pause=10)
    handler = block_policy(streams=True)(as_handler(reader))
    async with open_stage(handler, coap_network, block_limits=BlockLimits(max_bodies=2)) as stage:
        ask = Asking(stage)
        for number in range(6):
            with trio.move_on_after(5):
                await ask.put(0, True, A, uri_query=[f"{number}"])
            reset_last(ask)
            await trio.sleep(30)
        assert len(reader.incomplete) == 6

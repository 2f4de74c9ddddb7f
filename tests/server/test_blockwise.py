"""Bodies in blocks, as a peer sees them that sends octet by octet; the Block rows of conformance.md by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.server.stage import Stage, make_request, open_stage
from trio_coap import (
    CON,
    NON,
    BadRequest,
    Block,
    BlockLimits,
    Code,
    Conflict,
    Handler,
    LocalProtocolError,
    Request,
    Response,
    Site,
    StreamedBody,
    block_policy,
)
from trio_coap.testing import VirtualNetwork

EXCHANGE_LIFETIME = 247

Open = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def opened(coap_network: VirtualNetwork) -> Open:
    def open_it(handler: Handler, **limits: int) -> AbstractAsyncContextManager[Stage]:
        return open_stage(handler, coap_network, block_limits=BlockLimits(**limits))

    return open_it


@attrs.define(eq=False)
class Store:
    """A handler that keeps what it gets, and gives it back."""

    requests: list[Request] = attrs.Factory(list)
    body: bytes = bytes(range(256)) * 10

    def __call__(self, request: Request) -> bytes | None:
        self.requests.append(request)
        return self.body if request.code in (Code.GET, Code.FETCH, Code.POST) else None

    def understands(self, request: Request) -> frozenset[int]:
        return frozenset({5})  # If-None-Match

    @property
    def bodies(self) -> list[bytes]:
        return [request.payload for request in self.requests]


@attrs.define
class Asking:
    """Sends blocks, each in a message of its own."""

    stage: Stage
    message_id: int = 0

    async def __call__(self, code: Code = Code.GET, payload: bytes = b"", **options: object) -> Response:
        self.message_id += 1
        request = make_request(code=code, message_id=self.message_id, payload=payload, **options)  # type: ignore[arg-type]
        return await self.stage.ask(request)

    async def put(self, number: int, more: bool, payload: bytes, size: int = 16, **options: object) -> Response:
        return await self(Code.PUT, payload, block1=Block.of(number, more, size), **options)


A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


async def test_a_body_is_put_together_and_handled_once(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        first = await ask.put(0, True, A, if_none_match=True, size1=40, content_format=42)
        assert (first.code, first.options.block1, first.payload) == (Code.CONTINUE, Block(0, True, 0), b"")
        assert (await ask.put(1, True, B, content_format=42)).code is Code.CONTINUE
        assert store.requests == []
        last = await ask.put(2, False, b"c", content_format=42)
        assert (last.code, last.options.block1) == (Code.CHANGED, Block(2, False, 0))
    assert store.bodies == [A + B + b"c"]
    options = store.requests[0].options
    assert (options.if_none_match, options.content_format, options.block1) == (True, 42, None)


@pytest.mark.parametrize("blocks", [[(1, True)], [(2, False)], [(0, True), (2, True)], [(0, True), (2, False)]])
async def test_row_block1_gap_or_wrong_order(
    blocks: list[tuple[int, bool]], opened: Open, autojump_clock: MockClock
) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        answers = [await ask.put(number, more, A) for number, more in blocks]
        assert answers[-1].code is Code.REQUEST_ENTITY_INCOMPLETE
        assert "octet" in answers[-1].text
    assert store.requests == []


async def test_a_gap_does_not_end_the_body(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        assert (await ask.put(2, True, C)).code is Code.REQUEST_ENTITY_INCOMPLETE
        assert (await ask.put(1, False, B)).code is Code.CHANGED
    assert store.bodies == [A + B]


async def test_row_block1_repeated_block(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        for number, more, payload in [(0, True, A), (1, True, B), (2, False, C)]:
            once, again = [await ask.put(number, more, payload) for _ in range(2)]
            assert (once.code, once.options) == (again.code, again.options)
    assert store.bodies == [A + B + C]


async def test_a_repeated_last_block_is_answered_with_the_same_error(opened: Open, autojump_clock: MockClock) -> None:
    calls = []

    async def handler(request: Request) -> None:
        calls.append(request)
        async with trio.open_nursery():
            raise Conflict("not now")

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        answers = [await ask.put(1, False, B) for _ in range(2)]
    for answer in answers:
        assert (answer.code, answer.text, answer.options.block1) == (Code.CONFLICT, "not now", Block(1, False, 0))
    assert len(calls) == 1


async def test_a_repeated_last_block_that_is_no_duplicate_gets_a_message_of_its_own(
    opened: Open, autojump_clock: MockClock
) -> None:
    async with opened(Store()) as stage:
        answers = []
        for message_id, number in ((1, 0), (2, 1), (3, 1)):
            request = make_request(
                code=Code.PUT,
                type=NON,
                message_id=message_id,
                payload=bytes(16),
                block1=Block(number, number == 0, 0),
            )
            answers.append(await stage.ask(request))
        assert [answer.code for answer in answers] == [Code.CONTINUE, Code.CHANGED, Code.CHANGED]
        assert answers[1].message_id != answers[2].message_id


async def test_a_repeated_block_with_other_content_is_out_of_order(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(Store()) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        await ask.put(1, True, B)
        assert (await ask.put(1, True, C)).code is Code.REQUEST_ENTITY_INCOMPLETE


async def test_the_last_block_repeated_while_the_handler_runs(opened: Open, autojump_clock: MockClock) -> None:
    calls: list[Request] = []

    async def handler(request: Request) -> None:
        calls.append(request)
        await trio.sleep(5)

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        stage.send(make_request(code=Code.PUT, message_id=100, token=b"first", payload=B, block1=Block(1, False, 0)))
        await trio.sleep(1)
        assert (await stage.peer.receive()).is_empty
        busy = await ask.put(1, False, B)
        assert (busy.code, busy.options.max_age) == (Code.SERVICE_UNAVAILABLE, 1)
        await trio.sleep(10)
        stage.peer.acknowledge(await stage.peer.receive())
        assert (await ask.put(1, False, B)).code is Code.CHANGED
    assert len(calls) == 1


@pytest.mark.parametrize("length", [0, 15, 17])
async def test_row_block1_not_final_and_not_of_its_size(length: int, opened: Open, autojump_clock: MockClock) -> None:
    async with opened(Store()) as stage:
        assert (await Asking(stage).put(0, True, bytes(length))).code is Code.BAD_REQUEST


@pytest.mark.parametrize("name", ["block1", "block2"])
@pytest.mark.parametrize("type", [CON, NON])
async def test_row_szx_7(name: str, type: object, opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        request = make_request(code=Code.PUT, type=type, **{name: Block(0, False, 7)})  # type: ignore[arg-type]
        answer = await stage.ask(request)
        assert (answer.code, "reserved" in answer.text) == (Code.BAD_REQUEST, True)
    assert store.requests == []


async def test_row_block1_body_above_the_limit(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store, max_body=40) as stage:
        ask = Asking(stage)
        announced = await ask.put(0, True, A, size1=41)
        await ask.put(0, True, A)
        await ask.put(1, True, B)
        grown = await ask.put(2, False, C)
        whole = await ask(Code.PUT, bytes(1025))
        for answer in (announced, grown, whole):
            assert (answer.code, answer.options.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, 40)
        assert stage.server.blockwise.assembler.unfinished == 0
    assert store.requests == []


async def test_a_resource_has_a_limit_of_its_own(opened: Open, autojump_clock: MockClock) -> None:
    site = Site()
    site.put("/r")(block_policy(max_body=20)(lambda request: None))
    async with opened(site) as stage:
        answer = await Asking(stage).put(0, True, A, size1=21)
        assert answer.options.size1 == 20
        assert (await Asking(stage, 50)(Code.DELETE, block2=Block(0))).code is Code.METHOD_NOT_ALLOWED


async def test_bodies_with_different_request_tags_stay_apart(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        for tag, payload in ((b"", A), (b"1", B)):
            await ask.put(0, True, payload, request_tag=[tag])
        await ask.put(0, True, C)
        for tag, payload in ((b"1", B), (b"", A)):
            await ask.put(1, False, payload, request_tag=[tag])
        await ask.put(1, False, C)
    assert store.bodies == [B + B, A + A, C + C]


async def test_blocks_that_differ_in_content_format_are_not_put_together(
    opened: Open, autojump_clock: MockClock
) -> None:
    async with opened(Store()) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A, content_format=0)
        assert (await ask.put(1, False, B, content_format=42)).code is Code.REQUEST_ENTITY_INCOMPLETE


async def test_an_unfinished_body_is_forgotten_after_exchange_lifetime(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(Store()) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        await trio.sleep(EXCHANGE_LIFETIME - 1)
        assert (await ask.put(1, True, B)).code is Code.CONTINUE
        await trio.sleep(EXCHANGE_LIFETIME + 1)
        assert (await ask.put(2, True, C)).code is Code.REQUEST_ENTITY_INCOMPLETE
        assert stage.server.blockwise.assembler.octets == 0


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_bodies_per_remote": 2}, "more than 2 bodies of one endpoint"),
        ({"max_octets_per_remote": 40}, "more than 40 octets of one endpoint"),
        ({"max_bodies": 2}, "more than 2 bodies in all"),
        ({"max_octets": 40}, "more than 40 octets in all"),
    ],
)
async def test_unfinished_bodies_are_bounded(
    limits: dict[str, int], reason: str, opened: Open, autojump_clock: MockClock
) -> None:
    async with opened(Store(), **limits) as stage:
        ask = Asking(stage)
        for tag in (b"1", b"2"):
            assert (await ask.put(0, True, A, request_tag=[tag])).code is Code.CONTINUE
        refused = await ask.put(0, True, A, request_tag=[b"3"])
        assert (refused.code, refused.options.max_age) == (Code.SERVICE_UNAVAILABLE, 60)
        assert reason in refused.text
        await trio.sleep(EXCHANGE_LIFETIME)
        assert (await ask.put(0, True, A, request_tag=[b"3"])).code is Code.CONTINUE


async def test_a_body_that_its_client_has_given_up_makes_room(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(Store(), max_bodies_per_remote=1) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A, request_tag=[b"1"])
        await trio.sleep(94)
        assert (await ask.put(0, True, A, request_tag=[b"2"])).code is Code.CONTINUE


async def test_errors_of_the_handler_answer_the_last_block(opened: Open, autojump_clock: MockClock) -> None:
    def handler(request: Request) -> None:
        raise Conflict("not now") if request.payload != A + B else ValueError("a defect")

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        answer = await ask.put(1, False, C)
        assert (answer.code, answer.text, answer.options.block1) == (Code.CONFLICT, "not now", Block(1, False, 0))
        await ask.put(0, True, A)
        assert (await ask.put(1, False, B)).code is Code.INTERNAL_SERVER_ERROR
        assert stage.server.blockwise.assembler.unfinished == 0


# Responses.


async def test_later_blocks_come_from_the_body_of_the_first(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        first = await ask()
        assert (first.options.block2, first.options.size2) == (Block(0, True), 2560)
        whole, store.body = store.body, b"another"
        last = await ask(block2=Block(2))
        assert (last.payload, last.options.block2) == (whole[2048:], Block(2))
        assert (last.options.size2, last.options.etag) == (None, first.options.etag)
    assert len(store.requests) == 1


async def test_a_small_response_has_no_block_unless_asked(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(Store(body=bytes(1024))) as stage:
        ask = Asking(stage)
        assert (await ask()).options.block2 is None
        assert (await ask(block2=Block(0))).options.block2 == Block(0)
        assert (await ask(Code.PUT, block2=Block(0))).options.block2 is None


@pytest.mark.parametrize("method", [Code.GET, Code.POST])
async def test_a_body_that_is_forgotten(method: Code, opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        first = await ask(method)
        await trio.sleep(EXCHANGE_LIFETIME + 1)
        later = await ask(method, block2=Block(1))
        if method is Code.GET:
            assert (later.payload, later.options.etag) == (store.body[1024:2048], first.options.etag)
        else:
            assert later.code is Code.REQUEST_ENTITY_INCOMPLETE
    assert len(store.requests) == (2 if method is Code.GET else 1)


async def test_remembered_bodies_are_bounded(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store, max_bodies_per_remote=2, max_octets=6000) as stage:
        ask = Asking(stage)
        for query in "abc":
            await ask(uri_query=[query])
        ledger = stage.server.blockwise.representations
        assert (len(ledger), ledger.octets) == (2, 5120)
        store.body = bytes(7000)
        assert (await ask()).options.block2 == Block(0, True)
        assert (await ask(block2=Block(6))).payload == bytes(7000 - 6144)


async def test_a_block_behind_the_end(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(Store()) as stage:
        ask = Asking(stage)
        for _ in range(2):
            assert (await ask(block2=Block(3))).code is Code.BAD_REQUEST
            await ask()


async def test_a_fetch_is_told_from_another_by_its_body(opened: Open, autojump_clock: MockClock) -> None:
    store = Store()
    async with opened(store) as stage:
        ask = Asking(stage)
        await ask(Code.FETCH, b"one")
        await ask(Code.FETCH, b"one", block2=Block(1))
        await ask(Code.FETCH, b"", block2=Block(1))
        assert store.bodies == [b"one"]
        await ask(Code.FETCH, b"two", block2=Block(1))
        assert store.bodies == [b"one", b"two"]


@pytest.mark.parametrize("answer", [BadRequest("x" * 3000).to_response(), Response(Code.VALID)])
async def test_a_later_block_of_what_is_no_success_any_more(
    answer: Response, opened: Open, autojump_clock: MockClock
) -> None:
    async with opened(lambda request: answer) as stage:
        response = await Asking(stage)(block2=Block(1))
        assert (response.code, response.options.block2) == (answer.code, None)


# Streams.


@attrs.define(eq=False)
class Streams:
    """Handlers whose bodies are read as they go out."""

    made: int = 0
    closed: int = 0
    read: int = 0

    async def asynchronous(self, request: Request) -> AsyncIterator[bytes]:
        self.made += 1
        try:
            for number in range(100):
                self.read += 1
                yield bytes([number]) * 500
        finally:
            self.closed += 1

    def plain(self, request: Request) -> StreamedBody:
        return StreamedBody(self.pieces(), Code.CONTENT, size=50_000)

    def pieces(self):
        self.made += 1
        try:
            for number in range(100):
                self.read += 1
                yield bytes([number]) * 500
        finally:
            self.closed += 1


@pytest.fixture(params=["asynchronous", "plain"])
def streams(request: pytest.FixtureRequest) -> tuple[Streams, Handler]:
    streams = Streams()
    return streams, getattr(streams, request.param)


async def test_a_stream_is_read_as_its_blocks_are_asked_for(
    streams: tuple[Streams, Handler], opened: Open, autojump_clock: MockClock
) -> None:
    state, handler = streams
    async with opened(handler) as stage:
        ask = Asking(stage)
        first = await ask()
        assert state.read == 3
        second = await ask(block2=Block(1))
        assert (state.made, state.read) == (1, 5)
        assert second.options.etag == first.options.etag
        assert (first.payload + second.payload)[:1500] == b"\0" * 500 + b"\1" * 500 + b"\2" * 500
        # The last block once more is no matter, an earlier one takes another reading.
        assert (await ask(block2=Block(1))).payload == second.payload
        assert state.made == 1
        again = await ask(block2=Block(0, False, 6))
        assert (again.payload, state.made) == (first.payload, 2)
        assert again.options.etag != first.options.etag
        await trio.testing.wait_all_tasks_blocked()
        assert state.closed == 1
    assert state.closed == 2


async def test_a_stream_is_closed_with_its_last_block(
    streams: tuple[Streams, Handler], opened: Open, autojump_clock: MockClock
) -> None:
    state, handler = streams
    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask()
        assert (await ask(block2=Block(48))).options.block2 == Block(48)
        assert state.closed == 1


async def test_a_stream_that_fails_is_an_error_of_ours(opened: Open, autojump_clock: MockClock) -> None:
    calls: list[Request] = []

    async def handler(request: Request) -> AsyncIterator[bytes]:
        calls.append(request)
        raise OSError("no disk")
        yield b""

    async with opened(handler) as stage:
        ask = Asking(stage)
        for _ in range(2):
            await ask.put(0, True, A)
            assert (await ask.put(1, False, B)).code is Code.INTERNAL_SERVER_ERROR
    assert [call.payload for call in calls] == [A + B, A + B]


@pytest.mark.parametrize("is_of_trio", [False, True])
async def test_a_stream_is_closed_when_the_server_has_no_room_to_run_it(
    is_of_trio: bool, coap_network: VirtualNetwork, autojump_clock: MockClock, tmp_path: Path
) -> None:
    files = []

    async def wait() -> None:
        await trio.sleep(10)

    def handler(request: Request) -> Any:
        if request.payload:
            return wait()
        files.append((tmp_path / "body").open("w+b"))
        return trio.wrap_file(files[-1]) if is_of_trio else files[-1]

    async with open_stage(handler, coap_network, max_running_handlers=1) as stage:
        stage.send(make_request(payload=b"wait", message_id=1000))
        assert (await Asking(stage)()).code is Code.SERVICE_UNAVAILABLE
    assert files[0].closed


async def test_two_bodies_at_a_time_of_a_stream_that_is_dropped(opened: Open, autojump_clock: MockClock) -> None:
    streams = Streams()
    async with opened(streams.asynchronous, max_bodies_per_remote=1) as stage:
        ask = Asking(stage)
        await ask(uri_query=["a"])
        await ask(uri_query=["b"])
        await trio.testing.wait_all_tasks_blocked()
        assert (streams.made, streams.closed) == (2, 1)


@pytest.mark.parametrize(
    "limits", [{"max_body": 0}, {"max_bodies": -1}, {"max_block_size": 100}, {"max_block_size": 2048}]
)
def test_limits_that_make_no_sense(limits: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError, match=r"is at least 1|a block has"):
        BlockLimits(**limits)

"""Bodies in blocks that follow on each other closely, and blocks out of the middle, as a peer sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.server.stage import Stage, make_request, open_stage
from tests.server.test_blockwise import A, Asking, B, C
from trio_coap import (
    Block,
    BlockLimits,
    Code,
    Endpoint,
    Handler,
    Request,
    Response,
    ServiceUnavailable,
    Site,
    StreamedRequest,
    block_policy,
)
from trio_coap.server.results import to_response
from trio_coap.testing import VirtualNetwork, open_network

PATIENCE = 93

Open = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def opened(coap_network: VirtualNetwork) -> Open:
    def open_it(handler: Handler, **limits: int) -> AbstractAsyncContextManager[Stage]:
        return open_stage(handler, coap_network, block_limits=BlockLimits(**limits))

    return open_it


async def test_a_last_block_that_comes_twice_at_once_is_handled_once(opened: Open, autojump_clock: MockClock) -> None:
    calls: list[Request] = []

    async def handler(request: Request) -> None:
        calls.append(request)

    async with opened(handler) as stage:
        await Asking(stage).put(0, True, A)
        blockwise = stage.server.blockwise
        request = make_request(code=Code.PUT, payload=B, block1=Block(1, False, 0))
        request.source_endpoint = stage.peer.remote
        first = blockwise(request)
        assert isinstance(first, Awaitable)
        with pytest.raises(ServiceUnavailable):
            blockwise(request.replace())
        assert to_response(await first, request).code is Code.CHANGED
        assert to_response(blockwise(request.replace()), request).code is Code.CHANGED  # type: ignore[arg-type]
    assert len(calls) == 1


async def test_a_body_that_nobody_had_room_to_handle_may_come_again(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    bodies: list[bytes] = []

    async def handler(request: Request) -> None:
        await trio.sleep(0 if request.payload else 10)
        bodies.append(request.payload)

    async with open_stage(handler, coap_network, max_running_handlers=1) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        stage.send(make_request(message_id=1000))
        assert (await ask.put(1, False, B)).code is Code.SERVICE_UNAVAILABLE
        assert (await stage.peer.receive()).is_empty
        stage.peer.acknowledge(await stage.peer.receive())
        assert (await ask.put(1, False, B)).code is Code.CHANGED
    assert bodies == [b"", A + B]


async def test_a_handler_that_fails_late_leaves_the_next_body_alone(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> None:
        await trio.sleep(5)
        if request.payload == A + A:
            raise ValueError("a defect")

    async with opened(handler) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        stage.send(make_request(code=Code.PUT, message_id=100, payload=A, block1=Block(1, False, 0)))
        await trio.sleep(1)
        assert (await stage.peer.receive()).is_empty
        assert (await ask.put(0, True, B)).code is Code.CONTINUE
        failed = await stage.peer.receive()
        stage.peer.acknowledge(failed)
        assert failed.code is Code.INTERNAL_SERVER_ERROR
        answer = await ask.put(1, False, B)
        assert answer.code is Code.CHANGED


async def test_a_late_response_is_not_taken_for_that_to_another_body(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> bytes:
        await trio.sleep(5 if request.payload == A + C else 50)
        return request.payload

    async with opened(handler) as stage:
        ask = Asking(stage)
        for message_id, first in ((100, A), (101, B)):
            await ask.put(0, True, first)
            stage.send(make_request(code=Code.PUT, message_id=message_id, payload=C, block1=Block(1, False, 0)))
            await trio.sleep(1)
            assert (await stage.peer.receive()).is_empty
        response = await stage.peer.receive()
        stage.peer.acknowledge(response)
        assert response.payload == A + C
        # The second body is still at work.
        assert (await ask.put(1, False, C)).code is Code.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("max_body", [0, 20])
async def test_row_block1_body_above_the_limit_in_one_message(
    max_body: int, opened: Open, autojump_clock: MockClock
) -> None:
    site = Site()
    site.put("/r")(block_policy(max_body=max_body)(lambda request: None))
    async with opened(site) as stage:
        ask = Asking(stage)
        for options in ({}, {"block1": Block(0, False, 1)}, {"block2": Block(0)}):
            answer = await ask(Code.PUT, bytes(21), **options)
            assert (answer.code, answer.options.size1) == (Code.REQUEST_ENTITY_TOO_LARGE, max_body)
        assert (await ask(Code.PUT, bytes(max_body))).code is Code.CHANGED
        assert stage.endpoint.counters.turned_away["max_body"] == 3


async def test_hop_limit_and_no_response_do_not_tell_bodies_apart(opened: Open, autojump_clock: MockClock) -> None:
    bodies = []
    async with opened(lambda request: bodies.append(request.payload)) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A, hop_limit=10)
        await ask.put(1, True, B, hop_limit=9)
        last = make_request(
            code=Code.PUT, payload=C, message_id=99, block1=Block(2, False, 0), hop_limit=9, no_response=2
        )
        stage.send(last)
        answer = await stage.peer.receive()
    assert answer.is_empty
    assert bodies == [A + B + C]


async def test_a_stream_that_is_dropped_while_it_is_read_is_closed(opened: Open, autojump_clock: MockClock) -> None:
    closed: list[int] = []
    made: list[int] = []

    async def handler(request: Request) -> AsyncIterator[bytes]:
        number = len(made)
        made.append(number)
        try:
            for _ in range(10):
                yield bytes([number]) * 1024
                await trio.sleep(3 if number == 0 else 0)
        finally:
            closed.append(number)

    async with opened(handler) as stage:
        ask = Asking(stage)
        stage.send(make_request(message_id=100))
        await trio.sleep(4)
        stage.peer.acknowledge((await stage.peer.receive(), await stage.peer.receive())[1])
        stage.send(make_request(message_id=101, block2=Block(1)))
        await trio.sleep(1)
        assert (await stage.peer.receive()).is_empty
        fresh = await ask()
        assert fresh.payload == b"\1" * 1024
        stage.peer.acknowledge(await stage.peer.receive())
        await trio.sleep(1)
        assert closed == [0]
        assert (await ask(block2=Block(1))).payload == b"\1" * 1024
    assert made == [0, 1]


async def test_a_block_that_our_smaller_blocks_have_no_number_for(
    opened: Open, autojump_clock: MockClock, tmp_path: Path
) -> None:
    path = tmp_path / "body"
    with path.open("wb") as file:
        file.truncate((1 << 24) + 2048)  # Blocks of 16 octets end at 2^24.
    async with opened(lambda request: path.open("rb"), max_block_size=16) as stage:
        ask = Asking(stage)
        last = await ask(block2=Block.of((1 << 20) - 1, False, 16))
        assert (last.code, last.options.block2) == (Code.CONTENT, Block.of((1 << 20) - 1, True, 16))
        beyond = await ask(block2=Block.of((1 << 14) + 1, False, 1024))
        assert (beyond.code, "behind the last of 1048576 blocks" in beyond.text) == (Code.BAD_REQUEST, True)


# Random access.


@pytest.mark.parametrize("kind", ["octets", "a file", "a stream"])
async def test_a_later_block_may_come_first(kind: str, opened: Open, autojump_clock: MockClock, tmp_path: Path) -> None:
    body = b"".join(number.to_bytes(2, "big") for number in range(3000))
    path = tmp_path / "body"
    path.write_bytes(body)
    calls: list[Request] = []

    def handler(request: Request) -> bytes | BinaryIO | Iterator[bytes]:
        calls.append(request)
        if kind == "octets":
            return body
        return path.open("rb") if kind == "a file" else iter([body])

    async with opened(handler) as stage:
        ask = Asking(stage)
        for number, size in ((3, 1024), (1, 64), (0, 256), (93, 64)):
            block = await ask(block2=Block.of(number, False, size))
            start = number * size
            more = start + size < len(body)
            assert (block.payload, block.options.block2) == (body[start : start + size], Block.of(number, more, size))
    # Block 0 is asked for anew; for the others, what is kept or can seek need not be made again.
    assert len(calls) == (3 if kind == "a stream" else 2)


# Under attack.


@pytest.mark.parametrize("streams", [False, True])
async def test_first_blocks_from_forged_addresses_lock_nobody_out_for_long(
    streams: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    @block_policy(streams=streams)
    async def handler(request: Request) -> str:
        body = request.payload
        if isinstance(request, StreamedRequest):
            body = b"".join([chunk async for chunk in request])
        return f"{len(body)} octets"

    forged = 3000
    limits = BlockLimits(max_bodies=100, max_octets=1024 * 1024)
    async with open_stage(handler, coap_network, block_limits=limits) as stage:
        blockwise, counters = stage.server.blockwise, stage.endpoint.counters

        def unfinished() -> int:
            return len(blockwise.uploads) if streams else blockwise.assembler.unfinished

        for number in range(forged):
            data = make_request(code=Code.PUT, payload=bytes(1024), block1=Block(0, True)).encode()
            source = Endpoint(host=f"10.{1 + number // 250}.0.{number % 250 + 1}", port=5683)
            stage.endpoint.datagram_received(data, source, trio.current_time())
        assert unfinished() == 100
        assert blockwise.assembler.octets <= limits.max_octets
        ask = Asking(stage)
        assert (await ask.put(0, True, A)).code is Code.SERVICE_UNAVAILABLE
        assert counters.turned_away["max_bodies"] == forged - 100 + 1
        await trio.sleep(PATIENCE + 1)
        assert (await ask.put(0, True, A)).code is Code.CONTINUE
        assert (await ask.put(1, False, B)).text == "32 octets"


async def test_octets_of_forged_addresses_are_bounded_and_counted(opened: Open, autojump_clock: MockClock) -> None:
    async with opened(lambda request: None, max_octets=50 * 1024) as stage:
        assembler = stage.server.blockwise.assembler
        for number in range(200):
            data = make_request(code=Code.PUT, payload=bytes(1024), block1=Block(0, True)).encode()
            source = Endpoint(host=f"10.1.0.{number + 1}", port=5683)
            stage.endpoint.datagram_received(data, source, trio.current_time())
        assert (assembler.unfinished, assembler.octets) == (50, 50 * 1024)
        assert stage.endpoint.counters.turned_away["max_octets"] == 150


@pytest.mark.parametrize(
    ("name", "limit"),
    [("max_bodies_per_remote", 1), ("max_octets_per_remote", 24), ("max_bodies", 1), ("max_octets", 24)],
)
async def test_what_a_limit_turns_away_is_counted_by_its_name(
    name: str, limit: int, opened: Open, autojump_clock: MockClock
) -> None:
    async with opened(lambda request: bytes(2000), **{name: limit}) as stage:
        ask, turned_away = Asking(stage), stage.endpoint.counters.turned_away
        for tag in (b"1", b"2"):
            await ask.put(0, True, A, request_tag=[tag])
        assert turned_away == {name: 1}
        for query in ("a", "b"):
            await ask(uri_query=[query])
        assert turned_away[name] > 1
        assert set(turned_away) == {name}


# Against a model.

exponents = st.integers(0, 6)
lengths = st.builds(
    lambda blocks, exponent, offset: max(0, (blocks << exponent + 4) + offset),
    st.integers(0, 3),
    exponents,
    st.integers(-1, 1),
)


@settings(max_examples=100)
@given(
    length=lengths,
    up=exponents,
    down=exponents,
    numbers=st.lists(st.tuples(st.integers(0, 5), exponents), max_size=4),
    streams=st.booleans(),
    largest=exponents,
)
def test_any_sizes_in_one_exchange_and_any_block_after_it(
    length: int, up: int, down: int, numbers: list[tuple[int, int]], streams: bool, largest: int
) -> None:
    body = bytes(number * 7 % 251 for number in range(length))

    @block_policy(streams=streams)
    async def handler(request: Request) -> bytes:
        if isinstance(request, StreamedRequest):
            return b"".join([chunk async for chunk in request])[::-1]
        return request.payload[::-1]

    def expected(start: int, exponent: int) -> tuple[bytes, Block]:
        """Return the block at *start* of the response, as a server should cut it that has *largest* blocks."""
        size = 16 << min(exponent, largest)
        return body[::-1][start : start + size], Block.of(start // size, start + size < length, size)

    async def main() -> None:
        limits = BlockLimits(max_block_size=16 << largest)
        async with open_network() as network, open_stage(handler, network, block_limits=limits) as stage:
            ask = Asking(stage)
            size = 16 << up
            answer = Response()
            for start in range(0, max(length, 1), size):
                more = start + size < length
                answer = await ask.put(
                    start // size, more, body[start : start + size], size, block2=Block(0, False, down)
                )
                assert answer.options.block1 == Block(start // size, more, min(up, largest))
                assert answer.code is (Code.CONTINUE if more else Code.CHANGED)
            payload, block = expected(0, down)
            assert answer.payload == payload
            assert answer.options.block2 == (block if length else None)
            is_remembered = block.more
            for number, exponent in numbers:
                start = number << exponent + 4
                if not number or not is_remembered:
                    continue
                later = await ask(Code.PUT, block2=Block(number, False, exponent))
                if start >= length:
                    assert later.code is Code.BAD_REQUEST
                else:
                    assert (later.payload, later.options.block2) == expected(start, exponent)
                    assert later.options.etag == answer.options.etag

    trio.run(main, clock=MockClock(autojump_threshold=0))

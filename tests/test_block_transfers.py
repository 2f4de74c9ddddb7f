"""Bodies of all sizes between our client and our server: through loss, as streams, cancelled at every await."""

from __future__ import annotations

import gc
import io
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.support import assert_nothing_is_left
from tests.client.test_cancellation import cancel_at_every_await
from trio_coap import (
    BlockLimits,
    Code,
    Handler,
    Progress,
    Request,
    Response,
    Site,
    StreamedBody,
    StreamedRequest,
    TransmissionParameters,
    block_policy,
)
from trio_coap.testing import VirtualNetwork, open_network, open_pair

MIB = 1024 * 1024
LOSSY = {"loss": 0.1, "reordering": 0.1, "reordering_delay": 0.05}


def octets(size: int) -> bytes:
    """Octets of which no two blocks are equal."""
    return b"".join(number.to_bytes(4, "big") for number in range(-(-size // 4)))[:size]


def reverse(request: Request) -> bytes:
    return request.payload[::-1]


@block_policy(streams=True)
async def reverse_stream(request: StreamedRequest) -> StreamedBody:
    chunks = [chunk async for chunk in request.stream()]
    return StreamedBody([chunk[::-1] for chunk in reversed(chunks)])


borders = st.sampled_from([0, 16, 32, 64, 256, 1024, 2048, 3072])
sizes = st.builds(lambda border, offset: max(0, border + offset), borders, st.integers(-2, 2))
block_sizes = st.sampled_from([None, 16, 32, 64, 128, 256, 512, 1024])


@settings(max_examples=60)
@given(size=sizes, ours=block_sizes, theirs=block_sizes.filter(bool), streams=st.booleans())
def test_every_size_around_the_borders_of_blocks(size: int, ours: int | None, theirs: int, streams: bool) -> None:
    body = octets(size)
    handler: Handler = reverse_stream if streams else reverse  # type: ignore[assignment]

    async def main() -> None:
        limits = BlockLimits(max_block_size=theirs)
        async with open_pair(handler, block_limits=limits) as (client, server):
            response = await client.post("/r", body, block_size=ours)
            assert (response.code, response.payload) == (Code.CHANGED, body[::-1])
            assert (response.options.block2, server.blockwise.assembler.unfinished) == (None, 0)
            assert len(server.blockwise.uploads) == 0
            largest = max(len(r.message.payload) for r in server.endpoint.network.trace if r.message)  # type: ignore[attr-defined]
            assert largest <= (ours or 1024)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def make_store() -> Site:
    site = Site()
    bodies: list[bytes] = []

    @site.put("/r")
    @block_policy(max_body=64 * MIB)
    def put(request: Request) -> None:
        bodies[:] = [request.payload]

    @site.get("/r")
    def get(request: Request) -> bytes:
        return bodies[0]

    return site


ROOMY = BlockLimits(max_octets_per_remote=64 * MIB)
HASTY = TransmissionParameters(max_retransmit=8)
"""With 10 % loss each way, one try in five fails: some of thousands fail five times in a row."""


@pytest.mark.parametrize(
    "size", [pytest.param(MIB, id="1 MiB"), pytest.param(10 * MIB, id="10 MiB", marks=pytest.mark.slow)]
)
async def test_up_and_down_through_loss_and_reordering(size: int, autojump_clock: MockClock) -> None:
    body = octets(size)
    async with (
        open_network(1, **LOSSY, max_trace=100) as network,  # type: ignore[arg-type]
        open_pair(make_store(), network=network, block_limits=ROOMY, parameters=HASTY) as (client, _),
    ):
        assert (await client.put("/r", body)).code is Code.CHANGED
        response = await client.get("/r")
        assert response.payload == body
        assert client.endpoint.statistics().retransmissions > 100
        assert_nothing_is_left(client.endpoint)


def pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield number.to_bytes(2, "big") * 512


async def async_pieces(count: int) -> AsyncIterator[bytes]:
    for piece in pieces(count):
        yield piece


async def test_concurrent_bodies_to_one_resource(autojump_clock: MockClock) -> None:
    responses: dict[int, Response] = {}
    parameters = TransmissionParameters(nstart=5)
    async with open_pair(reverse, parameters=parameters) as (client, _):

        async def post(number: int) -> None:
            responses[number] = await client.post("/r", bytes([number]) * 3000)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(post, number)
    assert [responses[number].payload for number in range(5)] == [bytes([number]) * 3000 for number in range(5)]


async def test_an_upload_leaves_the_response_to_another_one_alone(autojump_clock: MockClock) -> None:
    """It begins while that response is being read; their Request-Tags tell the server which is which."""
    responses: dict[bytes, bytes] = {}
    async with open_pair(lambda request: request.payload * 5) as (client, _):

        async def post(body: bytes, later: float) -> None:
            await trio.sleep(later)
            responses[body] = (await client.post("/r", body)).payload

        one, other = b"a" * 2000, b"b" * 2000
        for milliseconds in range(12):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post, one, 0)
                nursery.start_soon(post, other, milliseconds / 1000)
            assert responses == {one: one * 5, other: other * 5}


@pytest.mark.parametrize("code", [Code.POST, Code.FETCH], ids=str)
async def test_concurrent_short_requests_with_long_responses(code: Code, autojump_clock: MockClock) -> None:
    responses: dict[bytes, bytes] = {}
    async with open_pair(lambda request: request.payload * 3000) as (client, _):

        async def ask(payload: bytes) -> None:
            responses[payload] = (await client.exchange(code, "/r", payload)).payload

        async with trio.open_nursery() as nursery:
            for payload in (b"a", b"b", b"c"):
                nursery.start_soon(ask, payload)
    assert responses == {payload: payload * 3000 for payload in (b"a", b"b", b"c")}


async def test_all_blocks_go_to_the_address_that_answered_the_first(
    coap_network: VirtualNetwork, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(reverse, network=coap_network) as (client, server):
        dead = coap_network.create_bound_endpoint("dead", 5683)
        dead.close()
        find = client._finder.find

        async def find_two(uri: str, remote: object = None) -> object:
            (target, options), *_ = await find(uri)
            return [(dead.remote, options), (target, options)]

        monkeypatch.setattr(client._finder, "find", find_two)
        response = await client.post(f"{server.uri}/r", bytes(3000))
        assert response.payload == bytes(3000)
        destinations = [record.destination for record in coap_network.trace]
    assert destinations.count(dead.remote) == 1


# Streams.


@pytest.mark.parametrize("kind", ["iterable", "async iterable", "file", "Trio's file", "list"])
async def test_streams_up_and_down(kind: str, tmp_path: Path) -> None:
    # In real time: threads, which Trio's files have, take no virtual time.
    path = tmp_path / "body"
    path.write_bytes(b"".join(pieces(20)))

    async def make() -> object:
        if kind == "iterable":
            return pieces(20)
        if kind == "async iterable":
            return async_pieces(20)
        if kind == "list":
            return StreamedBody(list(pieces(20)))
        return path.open("rb") if kind == "file" else await trio.open_file(path, "rb")

    async def handler(request: Request) -> object:
        return await make() if request.code is Code.GET else request.payload

    async with open_pair(handler) as (client, _):  # type: ignore[arg-type]
        response = await client.get("/r")
        assert response.payload == path.read_bytes()
        source = await make()
        body = source.source if isinstance(source, StreamedBody) else source
        async with client.stream(Code.POST, "/r", body) as streamed:  # type: ignore[arg-type]
            assert b"".join([chunk async for chunk in streamed.stream()]) == path.read_bytes()
    if isinstance(body, io.IOBase):
        assert not body.closed  # It is the caller's.
        body.close()
    elif isinstance(body, trio._file_io.AsyncIOWrapper):
        await body.aclose()


async def test_a_file_tells_its_size_and_when_it_changes(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "body"
    path.write_bytes(bytes(3000))
    async with open_pair(lambda request: path.open("rb")) as (client, _):
        async with client.stream(Code.GET, "/r") as response:
            assert response.options.size2 == response.progress.to_receive == 3000
            await response.receive_some()
            path.write_bytes(b"x" * 4000)
            with pytest.raises(Exception, match="changed"):
                await response.receive_some()
        assert (await client.get("/r")).payload == b"x" * 4000


async def compare(body: AsyncIterator[bytes], count: int) -> int:
    """Read *body*, compare it with :func:`pieces`, and return how many octets it has."""
    expected = pieces(count)
    received = 0
    async for chunk in body:
        assert chunk == next(expected)
        received += len(chunk)
    return received


def make_streaming_site(count: int) -> Site:
    site = Site()

    @site.put("/r")
    @block_policy(streams=True, max_body=count * 1024)
    async def put(request: StreamedRequest) -> str:
        return str(await compare(request.stream(), count))

    site.get("/r")(lambda request: async_pieces(count))
    return site


async def test_streams_up_and_down_through_loss_and_reordering(autojump_clock: MockClock) -> None:
    async with (
        open_network(1, **LOSSY, max_trace=100) as network,  # type: ignore[arg-type]
        open_pair(make_streaming_site(1024), network=network, parameters=HASTY) as (client, server),
    ):
        async with client.stream(Code.PUT, "/r", async_pieces(1024)) as response:
            assert (response.head.text, len(server.blockwise.uploads)) == (str(MIB), 0)
        async with client.stream(Code.GET, "/r") as response:
            assert await compare(response.stream(), 1024) == MIB
        assert client.endpoint.statistics().retransmissions > 100
        assert_nothing_is_left(client.endpoint)


async def peak_memory(code: Code, count: int) -> int:
    """Stream a body of *count* KiB, and return the octets that were in use at most."""
    site = make_streaming_site(count)
    async with open_network(max_trace=10, latency=1.0) as network, open_pair(site, network=network) as (client, _):
        gc.collect()  # What others have left behind goes now, and not at some moment of the transfer.
        tracemalloc.start()
        try:
            body = async_pieces(count) if code is Code.PUT else b""
            async with client.stream(code, "/r", body) as response:
                assert response.code.is_success
                if code is Code.PUT:
                    assert response.head.text == str(count * 1024)
                else:
                    assert await compare(response.stream(), count) == count * 1024
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("code", [Code.GET, Code.PUT])
async def test_memory_does_not_grow_with_a_streamed_body(
    code: Code, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The message layer keeps exchanges for EXCHANGE_LIFETIME, to recognize duplicates: with two seconds for each, about
    # 125 of them, however long the body is.  The decoder keeps the options of some messages.
    monkeypatch.setattr("trio_coap.wire.message._remembered.size", 16)
    _, small, large = [await peak_memory(code, count) for count in (200, 200, 800)]  # The first fills tables.
    assert large < small + 128 * 1024


# Cancelling.


async def test_cancelled_at_every_await_nothing_of_a_transfer_is_left(autojump_clock: MockClock) -> None:
    async with open_pair(reverse, block_limits=BlockLimits(max_bodies_per_remote=1000)) as (client, _):

        async def post() -> None:
            await client.post("/r", bytes(5000))

        async def stream() -> None:
            async with client.stream(Code.POST, "/r", io.BytesIO(bytes(5000))) as response:
                async for _ in response.stream():
                    pass

        async def check() -> None:
            await wait_all_tasks_blocked()
            assert_nothing_is_left(client.endpoint)

        # Who sends what is at hand sleeps until all blocks are through.
        for operation, least in ((post, 2), (stream, 9)):
            assert await cancel_at_every_await(operation, check) >= least
        assert (await client.post("/r", b"x" * 5000)).payload == b"x" * 5000


async def test_cancelled_between_any_two_blocks_nothing_of_a_transfer_is_left(autojump_clock: MockClock) -> None:
    async with open_pair(reverse, block_limits=BlockLimits(max_bodies_per_remote=1000)) as (client, _):
        seen, step = set(), 0
        while True:
            progress = Progress()
            with trio.move_on_after(step * 0.002) as scope:
                await client.post("/r", bytes(5000), progress=progress)
            seen.add((progress.sent, progress.received))
            await wait_all_tasks_blocked()
            assert_nothing_is_left(client.endpoint)
            if not scope.cancelled_caught:
                break
            step += 1
            assert step < 1000
        assert len(seen) >= 9, "it has been cancelled behind each block of both bodies"


async def test_a_server_that_is_cancelled_closes_its_streams(autojump_clock: MockClock) -> None:
    closed = []

    async def handler(request: Request) -> AsyncIterator[bytes]:
        try:
            for piece in pieces(20):
                yield piece
        finally:
            closed.append(request)

    async with open_pair(handler) as (client, _):
        async with client.stream(Code.GET, "/r") as response:
            await response.receive_some()
        assert closed == []
    assert len(closed) == 1


async def test_progress_can_be_read_meanwhile(autojump_clock: MockClock) -> None:
    seen: list[tuple[int, int | None, int, int | None]] = []
    progress = Progress()
    async with open_pair(reverse, latency=1.0) as (client, _), trio.open_nursery() as nursery:

        async def watch() -> None:
            while True:
                seen.append((progress.sent, progress.to_send, progress.received, progress.to_receive))
                await trio.sleep(2)

        nursery.start_soon(watch)
        await trio.sleep(1)
        await client.post("/r", bytes(3000), progress=progress)
        nursery.cancel_scope.cancel()
    assert seen == [
        (0, None, 0, None),
        (0, 3000, 0, None),
        (1024, 3000, 0, None),
        (2048, 3000, 0, None),
        (3000, 3000, 1024, 3000),
        (3000, 3000, 2048, 3000),
    ]

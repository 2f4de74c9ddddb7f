"""How many bodies handlers read at a time, and what ends them, as a peer sees it that sends block by block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.stage import make_request, open_stage
from tests.server.test_blockwise import EXCHANGE_LIFETIME, A
from tests.server.test_uploads import Asking, Open, Reader, as_handler
from tests.server.test_uploads import opened as opened
from trio_coap import Code, Request, StreamedBody, StreamedRequest, block_policy
from trio_coap.testing import VirtualNetwork

PATIENCE = 93


@pytest.mark.parametrize("name", ["max_bodies_per_remote", "max_bodies"])
async def test_bodies_on_their_way_are_bounded(name: str, opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader()
    async with opened(as_handler(reader), **{name: 2}) as stage:
        ask = Asking(stage)
        for tag in (b"1", b"2"):
            assert (await ask.put(0, True, A, request_tag=[tag])).code is Code.CONTINUE
        refused = await ask.put(0, True, A, request_tag=[b"3"])
        assert (refused.code, refused.options.max_age) == (Code.SERVICE_UNAVAILABLE, 60)
        assert stage.endpoint.counters.turned_away[name] == 1
        await trio.sleep(PATIENCE + 1)
        assert (await ask.put(0, True, A, request_tag=[b"3"])).code is Code.CONTINUE
        await wait_all_tasks_blocked()
    assert len(reader.incomplete) == 2


async def test_handlers_that_do_not_end_count(opened: Open, autojump_clock: MockClock) -> None:
    async def handler(request: StreamedRequest) -> None:
        await request.receive_some()
        await trio.sleep_forever()

    async with opened(handler, max_bodies_per_remote=2) as stage:
        ask = Asking(stage)
        for number in range(4):
            assert (await ask.put(0, True, A, request_tag=[bytes([number])])).code is Code.CONTINUE
            assert (await ask.put(2, True, A, request_tag=[bytes([number])])).code is Code.REQUEST_ENTITY_INCOMPLETE
        assert (await ask.put(0, True, A, request_tag=[b"x"])).code is Code.SERVICE_UNAVAILABLE
        assert len(stage.server.blockwise.uploads) == 4


async def test_a_block_that_the_server_has_no_room_to_answer_may_come_again(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    reader = Reader()

    async def wait() -> None:
        await trio.sleep(10)

    @block_policy(streams=True)
    def handler(request: Request) -> Awaitable[object]:
        if request.options.uri_path == ("wait",):
            return wait()
        assert isinstance(request, StreamedRequest)
        return reader.read(request)

    async with open_stage(handler, coap_network, max_running_handlers=1) as stage:  # type: ignore[arg-type]
        ask = Asking(stage)

        async def block(number: int, more: bool) -> None:
            stage.send(make_request("wait", message_id=1000 + number))
            assert (await ask.put(number, more, A)).code is Code.SERVICE_UNAVAILABLE
            assert (await stage.peer.receive()).is_empty
            stage.peer.acknowledge(await stage.peer.receive())

        await block(0, True)
        assert reader.started == 0
        await ask.put(0, True, A)
        await ask.put(1, True, A)
        await block(2, False)
        assert (await ask.put(2, False, A)).text == "48 octets"
    assert reader.bodies == [A + A + A]


async def test_a_server_that_ends_cancels_the_handlers(opened: Open, autojump_clock: MockClock) -> None:
    reader = Reader()
    async with opened(as_handler(reader)) as stage:
        await Asking(stage).put(0, True, A)
        server = stage.server
    assert (reader.cancelled, reader.incomplete) == (1, [])
    assert len(server.blockwise.uploads) == 0


async def test_a_server_that_ends_leaves_no_timer_on_its_endpoint(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    reader = Reader()
    async with coap_network.open_endpoint("elsewhere", 5683) as endpoint:
        before = len(endpoint.queue)
        async with open_stage(block_policy(streams=True)(as_handler(reader)), coap_network) as stage:
            await Asking(stage).put(0, True, A)
        assert len(endpoint.queue) == before


async def test_a_stream_as_the_response_is_closed_when_nobody_asks_for_it(
    opened: Open, autojump_clock: MockClock
) -> None:
    closed = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield bytes(1000)
        finally:
            closed.append(True)

    @attrs.define
    class Source:
        inner: AsyncIterator[bytes]

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self.inner

        async def aclose(self) -> None:
            closed.append(True)

    async def handler(request: Request) -> StreamedBody:
        return StreamedBody(Source(pieces()))

    async with opened(handler) as stage:
        await Asking(stage).put(0, True, A)
        await trio.sleep(2 * EXCHANGE_LIFETIME)
        assert closed == [True]
        await Asking(stage, 50).put(0, True, A)
    assert closed == [True, True]

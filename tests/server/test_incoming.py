"""The body of a request, and who reads it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.stage import open_stage
from tests.server.test_blockwise import A, B, C
from tests.server.test_uploads import Asking
from trio_coap import Request, StreamedRequest, block_policy
from trio_coap.server.incoming import IncomingBody
from trio_coap.testing import VirtualNetwork


async def test_two_tasks_cannot_read_one_body(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> str:
        assert isinstance(request, StreamedRequest)
        await request.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request.receive_some)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await request.receive_some()
        return "once"

    async with open_stage(block_policy(streams=True)(handler), coap_network) as stage:
        ask = Asking(stage)
        await ask.put(0, True, A)
        assert (await ask.put(1, False, B)).text == "once"


async def test_of_two_tasks_none_takes_a_block_that_the_other_has_for_the_end(autojump_clock: MockClock) -> None:
    body = IncomingBody()
    body.put(A, is_last=False)
    pieces: list[bytes | None] = []

    async def read() -> None:
        try:
            pieces.append(await body.receive_some())
        except trio.BusyResourceError:
            pieces.append(None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(read)
    assert pieces == [None, A]


async def test_cancelled_reading_loses_nothing(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> bytes:
        assert isinstance(request, StreamedRequest)
        body = b""
        while True:
            with trio.move_on_after(1) as scope:
                chunk = await request.receive_some()
                body += chunk
                if not chunk:
                    return body
            assert scope.cancelled_caught in (True, False)

    async with open_stage(block_policy(streams=True)(handler), coap_network) as stage:
        ask = Asking(stage)
        for number, payload in enumerate((A, B)):
            await trio.sleep(10)
            await ask.put(number, True, payload)
        await trio.sleep(10)
        assert (await ask.put(2, False, C)).payload == A + B + C

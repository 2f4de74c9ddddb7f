"""Leaving an observation deregisters (RFC 7641 section 3.6); the peer is played by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.observing import Scene
from tests.observing import assert_nothing_is_left, cancel_at_every_await, open_peer, state
from trio_coap import (
    CON,
    NON,
    RST,
    Code,
    MessageType,
    Request,
    Response,
    Site,
    open_client,
)
from trio_coap.client.observation import DEREGISTRATION_BOUND
from trio_coap.testing import VirtualNetwork, open_pair


@pytest.fixture
async def scene(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network) as peer:
            yield Scene(client, endpoint, peer, coap_network)


async def test_leaving_by_cancellation_deregisters(scene: Scene, autojump_clock: MockClock) -> None:
    async def observe() -> None:
        async with scene.observe() as observation:
            async for _ in observation:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(observe)
        request = await scene.establish()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await scene.expect_deregistration(request.token)
    assert_nothing_is_left(scene.endpoint)


async def test_leaving_by_an_exception_deregisters_and_lets_it_pass(scene: Scene, autojump_clock: MockClock) -> None:
    async def observe_and_fail() -> None:
        async with scene.observe():
            await scene.establish()
            raise KeyError

    with pytest.raises(KeyError):
        await observe_and_fail()
    await scene.expect_deregistration(scene.network.trace[0].message.token)  # type: ignore[union-attr]


async def test_leaving_before_the_first_response_deregisters(scene: Scene, autojump_clock: MockClock) -> None:
    """The registration may have arrived."""
    async with scene.observe():
        request = await scene.peer.receive_request()
    await scene.expect_deregistration(request.token)


async def test_what_was_never_sent_is_not_deregistered(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.client.request(Code.GET, scene.peer.uri):
        async with scene.observe():  # NSTART is 1.
            await trio.sleep(1)
        await scene.peer.receive_request()
        with trio.move_on_after(1) as scope:
            await scene.peer.receive()
        assert scope.cancelled_caught


async def test_leaving_takes_a_bounded_time(scene: Scene, autojump_clock: MockClock) -> None:
    async with scene.observe():
        await scene.establish()
        await trio.sleep(1)
        started_at = trio.current_time()
    assert trio.current_time() - started_at == pytest.approx(DEREGISTRATION_BOUND)
    assert len(scene.network.trace.select(destination="peer", code=Code.GET)) in (3, 4)
    assert_nothing_is_left(scene.endpoint)


@pytest.mark.parametrize("type", [CON, NON])
async def test_what_comes_after_leaving_is_reset(type: MessageType, scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, scene.observe():
        request = await scene.establish()
        await trio.sleep(1)
        nursery.start_soon(scene.expect_deregistration, request.token)
    late = scene.peer.notify(request, state(2), type)
    reset = await scene.peer.receive()
    assert (reset.type, reset.message_id) == (RST, late)


async def test_what_comes_while_leaving_is_reset(scene: Scene, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def play() -> None:
            deregistration = await scene.peer.receive_request()
            late = scene.peer.notify(deregistration, state(2), NON)
            reset = await scene.peer.receive()
            assert (reset.type, reset.message_id) == (RST, late)
            scene.peer.answer(deregistration, Response(Code.CONTENT))

        async with scene.observe():
            await scene.establish()
            await trio.sleep(1)
            nursery.start_soon(play)


@pytest.mark.parametrize("is_waiting", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
async def test_cancelling_at_any_await_leaves_nothing(
    is_async: bool, is_waiting: bool, autojump_clock: MockClock
) -> None:
    """Neither tokens, entries and tasks at the client, nor observers and tasks at the server."""
    site = Site()

    async def read_later(request: Request) -> str:
        await trio.sleep(2)
        return "late"

    site.get("/r", observable=True)(read_later if is_async else lambda request: "now")
    async with open_pair(site) as (client, server):
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living

        async def operation() -> None:
            async with client.observe("/r") as observation:
                await observation.receive()
                site.resource("/r").notify()
                await observation.receive()

        async def check() -> None:
            assert client.endpoint.statistics().tokens == 0
            await trio.sleep(10)
            assert_nothing_is_left(client.endpoint)
            assert len(server.dispatcher.observers) == 0
            assert_nothing_is_left(server.endpoint)
            idle = server.dispatcher.handlers.idle  # They wait for the next handler.
            assert trio.lowlevel.current_statistics().tasks_living == tasks + idle

        assert await cancel_at_every_await(operation, check, is_waiting=is_waiting) >= 3

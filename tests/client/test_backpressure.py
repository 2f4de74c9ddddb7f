"""Holding requests back after 5.03 and 4.29 (RFC 7252 section 5.9.3.4, RFC 8516); the peer is played by hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.client.scene import Scene
from tests.client.support import assert_nothing_is_left, open_peer
from trio_coap import Block, Code, Endpoint, Response, open_client
from trio_coap.client import backpressure
from trio_coap.client.backpressure import Backpressure
from trio_coap.testing import VirtualNetwork


@pytest.fixture
async def patient(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    """A scene whose client holds back."""
    async with (
        coap_network.open_endpoint("client") as endpoint,
        open_client(endpoint=endpoint, holds_back=True) as client,
    ):
        with open_peer(coap_network) as peer:
            yield Scene(client, endpoint, peer, coap_network)


async def overload(scene: Scene, code: Code = Code.SERVICE_UNAVAILABLE, max_age: int | None = 30) -> float:
    """Have a request answered with *code*, and return when that was."""
    responses = []

    async def ask() -> None:
        responses.append(await scene.client.get(scene.uri))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        scene.peer.piggyback(await scene.peer.receive_request(), Response(code, max_age=max_age))
    assert responses[0].code == code  # It is a response like any other.
    return trio.current_time()


async def ask_and_answer(scene: Scene, ask: Callable[[], object]) -> float:
    """Return when the request came."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)  # type: ignore[arg-type]
        request = await scene.peer.receive_request()
        came_at = trio.current_time()
        scene.peer.piggyback(request)
    return came_at


@pytest.mark.parametrize("code", [Code.SERVICE_UNAVAILABLE, Code.TOO_MANY_REQUESTS])
@pytest.mark.parametrize(("max_age", "seconds"), [(30, 30), (0, 0), (None, 60)])
async def test_further_requests_wait_for_max_age(
    code: Code, max_age: int | None, seconds: float, patient: Scene, autojump_clock: MockClock
) -> None:
    said_at = await overload(patient, code, max_age)
    came_at = await ask_and_answer(patient, lambda: patient.client.get(f"{patient.peer.uri}/other"))
    assert came_at - said_at == pytest.approx(seconds, abs=0.1)
    assert_nothing_is_left(patient.endpoint)


async def test_a_client_that_was_not_asked_to_does_not_wait(scene: Scene, autojump_clock: MockClock) -> None:
    said_at = await overload(scene)
    assert await ask_and_answer(scene, lambda: scene.client.get(scene.uri)) - said_at < 0.1


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.GATEWAY_TIMEOUT, Code.CONTENT])
async def test_other_responses_hold_nothing_back(code: Code, patient: Scene, autojump_clock: MockClock) -> None:
    said_at = await overload(patient, code)
    assert await ask_and_answer(patient, lambda: patient.client.get(patient.uri)) - said_at < 0.1


async def test_other_servers_are_not_waited_for(patient: Scene, autojump_clock: MockClock) -> None:
    await overload(patient)
    started_at = trio.current_time()
    with open_peer(patient.network, "another") as peer:
        async with patient.client.request(Code.GET, peer.uri) as handle:
            assert handle.transmissions == 1
    assert trio.current_time() == started_at


async def enter_handle(scene: Scene) -> None:
    async with scene.client.request(Code.GET, scene.uri) as handle:
        await handle.receive()


async def observe(scene: Scene) -> None:
    async with scene.client.observe(scene.uri) as observation:
        await observation.receive()


async def tell(scene: Scene) -> None:
    await scene.client.tell(Code.PUT, scene.uri, "on")


async def stream(scene: Scene) -> None:
    async with scene.client.stream(Code.GET, scene.uri) as response:
        await response.receive_some()


@pytest.mark.parametrize("ask", [enter_handle, observe, tell, stream])
async def test_every_kind_of_request_waits(
    ask: Callable[[Scene], object], patient: Scene, autojump_clock: MockClock
) -> None:
    said_at = await overload(patient)
    came_at = await ask_and_answer(patient, lambda: ask(patient))
    assert came_at - said_at == pytest.approx(30, abs=0.1)
    assert_nothing_is_left(patient.endpoint)


async def test_a_response_to_any_kind_of_request_counts(patient: Scene, autojump_clock: MockClock) -> None:
    for ask in (enter_handle, observe, tell, stream):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, patient)
            request = await patient.peer.receive_request()
            patient.peer.piggyback(request, Response(Code.SERVICE_UNAVAILABLE, max_age=40))
        said_at = trio.current_time()
        came_at = await ask_and_answer(patient, lambda: patient.client.get(patient.uri))
        assert came_at - said_at == pytest.approx(40, abs=0.1)


async def test_who_waits_waits_longer_if_a_later_response_asks_for_it(
    patient: Scene, autojump_clock: MockClock
) -> None:
    """The request under way was sent before; what it brings makes it longer, never shorter."""
    async with patient.client.request(Code.GET, patient.uri) as under_way:
        first = await patient.peer.receive_request()
        patient.peer.acknowledge(first)
        said_at = await overload(patient, max_age=10)
        came_at = []

        async def ask() -> None:
            async with patient.client.request(Code.GET, patient.uri):
                came_at.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(5)
            late = Response(Code.TOO_MANY_REQUESTS, max_age=20)
            late.token, late.message_id = first.token, 99
            patient.peer.send(late)
            await under_way.receive()
    assert came_at[0] - said_at == pytest.approx(25, abs=0.1)


async def test_a_shorter_time_does_not_replace_a_longer_one(patient: Scene, autojump_clock: MockClock) -> None:
    table = Backpressure(patient.endpoint)
    for max_age in (30, 5):
        response = Response(Code.SERVICE_UNAVAILABLE, max_age=max_age)
        response.source_endpoint = patient.peer.remote
        table.take_note(response, 100.0)
    assert table.held_until(patient.peer.remote, 101.0) == 130.0
    assert table.held_until(patient.peer.remote, 130.0) is None


async def test_a_request_that_is_cancelled_while_it_waits_is_never_sent(
    patient: Scene, autojump_clock: MockClock
) -> None:
    await overload(patient)
    for ask in (enter_handle, observe, tell, stream):
        with trio.move_on_after(10):
            await ask(patient)
        assert_nothing_is_left(patient.endpoint)
        patient.client._backpressure = Backpressure(patient.endpoint)
        await overload(patient)
    assert await patient.peer.hears_nothing(300)


async def test_registering_again_waits_and_deregistering_does_not(patient: Scene, autojump_clock: MockClock) -> None:
    async with patient.client.observe(patient.uri):
        first = await patient.peer.receive_request()
        patient.peer.piggyback(first, Response(Code.CONTENT, "1", observe=1, max_age=0))
        await trio.sleep(1)
        said_at = await overload(patient, max_age=100)
        again = await patient.peer.receive_request()
        assert again.options.observe == 0
        assert trio.current_time() - said_at == pytest.approx(100, abs=0.1)
        patient.peer.piggyback(again, Response(Code.CONTENT, "2", observe=2, max_age=1000))
        said_at = await overload(patient, max_age=100)
    deregistration = await patient.peer.receive_request()
    assert deregistration.options.observe == 1
    # It was not answered: leaving has waited for it, not for Max-Age.
    assert trio.current_time() - said_at < 6


async def test_the_next_block_waits_if_somebody_else_was_asked_to(patient: Scene, autojump_clock: MockClock) -> None:
    bodies, came_at = [], []

    async def ask() -> None:
        bodies.append((await patient.client.get(patient.uri)).payload)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        for number in range(4):
            request = await patient.peer.receive_request()
            came_at.append(trio.current_time())
            if number == 2:
                overloaded = Response(Code.SERVICE_UNAVAILABLE, max_age=30)
                overloaded.source_endpoint = patient.peer.remote
                patient.client._backpressure.take_note(overloaded, trio.current_time())  # type: ignore[union-attr]
            block = Response(Code.CONTENT, bytes([number]) * 16, block2=Block.of(number, number < 3, 16))
            patient.peer.piggyback(request, block)
    assert bodies == [b"".join(bytes([number]) * 16 for number in range(4))]
    assert [later - earlier >= 30 for earlier, later in itertools.pairwise(came_at)] == [False, False, True]


async def test_a_ping_does_not_wait(patient: Scene, autojump_clock: MockClock) -> None:
    await overload(patient)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patient.client.ping, patient.uri)
        patient.peer.reset(await patient.peer.receive())
        assert trio.current_time() < 1


async def test_the_table_is_bounded(
    coap_network: VirtualNetwork, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backpressure, "MAX_HELD_REMOTES", 2)
    async with coap_network.open_endpoint("client") as endpoint:
        table = Backpressure(endpoint)
        remotes = [Endpoint(host=f"10.0.0.{number}") for number in range(1, 5)]

        def note(number: int, now: float) -> None:
            response = Response(Code.SERVICE_UNAVAILABLE, max_age=10)
            response.source_endpoint = remotes[number]
            table.take_note(response, now)

        note(0, 0.0)
        note(1, 5.0)
        note(2, 6.0)
        assert table.held_until(remotes[2], 6.0) is None
        assert endpoint.counters.turned_away["remotes that requests are held back from"] == 1
        note(3, 12.0)  # The first is over by then.
        assert table.held_until(remotes[3], 12.0) == 22.0
        assert table.held_until(remotes[1], 12.0) == 15.0

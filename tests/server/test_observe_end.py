"""How observations at a server end (RFC 7641 sections 4.1 and 4.2); the client is played by hand.

A docstring that starts with "Row" names the row of ``conformance.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.observing import assert_nothing_is_left, open_peer
from tests.server.observing import Sensor, Stage, open_stage
from trio_coap import (
    ACK,
    CON,
    NON,
    Code,
    Forbidden,
    Limits,
    NotFound,
    Response,
    Server,
    serve,
)
from trio_coap.server.observer import NON_INTERVAL
from trio_coap.testing import VirtualNetwork


@pytest.fixture
def sensor() -> Sensor:
    return Sensor()


@pytest.fixture
async def stage(coap_network: VirtualNetwork, sensor: Sensor) -> AsyncIterator[Stage]:
    async with open_stage(sensor.site, coap_network) as opened:
        yield opened


@pytest.mark.parametrize("code", [Code.GET, Code.FETCH])
async def test_deregistering_ends_it(code: Code, stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    sensor.resource.fetch(lambda request: "fetched")
    await stage.ask(0, code=code)
    response = await stage.ask(1, 2, code=code)
    assert (response.code, response.options.observe) == (Code.CONTENT, None)
    assert stage.observers == 0
    await sensor.change(2)
    assert await stage.peer.hears_nothing(200)
    assert_nothing_is_left(stage.endpoint)


@pytest.mark.parametrize("confirmable", [True, False])
async def test_a_reset_ends_it(confirmable: bool, coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Row: RST to a notification, also to a NON one: observation ends, its handler task is cancelled."""
    sensor = Sensor(confirmable=confirmable)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        assert notification.type is (CON if confirmable else NON)
        sensor.delay = 50
        await sensor.change(3)
        stage.peer.reset(notification)
        await trio.sleep(0.1)
        assert stage.observers == 0
        assert (sensor.runs, sensor.cancelled) == (3, 1)
        await sensor.change(4)
        assert await stage.peer.hears_nothing(200)
        assert_nothing_is_left(stage.endpoint)


async def test_a_late_reset_of_a_non_confirmable_notification_ends_it(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: RST to a notification, also to a NON one: here not to the last one."""
    sensor = Sensor(confirmable=False)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        await trio.sleep(NON_INTERVAL)
        await sensor.change(3)
        await stage.receive()
        stage.peer.reset(notification)
        await trio.sleep(0.1)
        assert stage.observers == 0


async def test_a_late_reset_from_before_registering_again_does_not_end_it(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = Sensor(confirmable=False)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        await trio.sleep(NON_INTERVAL)
        await sensor.change(3)
        await stage.receive()
        await stage.ask(0, 2)
        stage.peer.reset(notification)
        await trio.sleep(0.1)
        assert stage.observers == 1
        await sensor.change(4)
        assert (await stage.receive_and_acknowledge()).text == "4"


async def test_giving_up_ends_it(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    await stage.ask(0)
    await sensor.change(2)
    await trio.sleep(92)
    assert stage.observers == 1
    await trio.sleep(2)
    assert stage.observers == 0
    assert len(stage.network.trace.select(source="server", type=CON)) == 5
    assert_nothing_is_left(stage.endpoint)


async def test_a_client_whose_port_is_closed_ends_it(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    await stage.ask(0)
    stage.peer.endpoint.close()
    await sensor.change(2)
    await trio.sleep(1)
    assert stage.observers == 0


async def test_who_has_too_much_waiting_already_is_given_up(
    coap_network: VirtualNetwork, sensor: Sensor, autojump_clock: MockClock
) -> None:
    async with open_stage(sensor.site, coap_network, limits=Limits(max_pending_per_remote=1)) as stage:
        for n in range(3):
            await stage.ask(0, n, token=bytes([n]))
        await sensor.change(2)  # One is sent, one waits.
        assert stage.observers == 2
        assert [(await stage.receive_and_acknowledge()).text for _ in range(2)] == ["2", "2"]


@pytest.mark.parametrize("how", ["deregister", "register"])
async def test_a_handler_whose_client_does_not_wait_any_more_is_cancelled(
    how: str, stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    """Issue 3: a handler whose client resets, deregisters or goes is cancelled."""
    sensor.delay = 50
    stage.send(0)
    assert (await stage.peer.receive()).is_empty
    sensor.delay = 0
    response = await stage.ask(0 if how == "register" else 1, 2)
    assert (response.type, response.text) == (ACK, "1")
    assert (sensor.cancelled, stage.server.dispatcher.running) == (1, 0)
    assert stage.observers == (1 if how == "register" else 0)
    assert await stage.peer.hears_nothing(200)


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_end_of_the_server_ends_it(
    is_first: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = Sensor()
    async with coap_network.open_endpoint("server", 5683) as endpoint:
        with open_peer(coap_network) as peer:
            async with trio.open_nursery() as nursery:
                server: Server = await nursery.start(
                    lambda task_status: serve(sensor.site, endpoint=endpoint, task_status=task_status)
                )
                stage = Stage(server, endpoint, peer, coap_network)
                sensor.delay = 5 if is_first else 0
                stage.send(0)
                await trio.sleep(1)
                await sensor.change(2)
                nursery.cancel_scope.cancel()
            assert (stage.observers, len(sensor.resource.observable or ())) == (0, 0)
            sensor.resource.notify()
            assert_nothing_is_left(endpoint)


@pytest.mark.parametrize("is_notified", [True, False])
async def test_closing_the_endpoint_ends_it(
    is_notified: bool, stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    await stage.ask(0)
    await stage.ask(0, 2, token=b"u")
    if is_notified:
        await sensor.change(2)
    stage.endpoint.close()
    await sensor.change(3)
    sensor.resource.end()
    assert stage.observers == 0


async def test_an_error_of_the_handler_ends_it(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    await stage.ask(0)
    await sensor.change(NotFound("no more"))
    response = await stage.receive_and_acknowledge()
    assert (response.type, response.code, response.token) == (CON, Code.NOT_FOUND, b"t")
    assert (response.options.observe, response.text) == (None, "no more")
    await sensor.change(3)
    assert stage.observers == 0
    assert await stage.peer.hears_nothing(200)


async def test_another_content_format_ends_it(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    """RFC 7641 section 4.2: the notifications have the Content-Format of the first response."""
    await stage.ask(0)
    await sensor.change(Response(Code.VALID, etag=b"e"))
    assert (await stage.receive_and_acknowledge()).code is Code.VALID
    await sensor.change(Response(payload=b"{}", content_format=50))
    response = await stage.receive_and_acknowledge()
    assert (response.code, response.options.observe) == (Code.NOT_ACCEPTABLE, None)
    assert stage.observers == 0


async def test_ending_sends_the_error_to_all(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    for n in range(3):
        await stage.ask(0, n, token=bytes([n]))
    sensor.resource.end(Forbidden("enough"))
    received = {(await stage.receive_and_acknowledge()).token for _ in range(3)}
    assert received == {b"\0", b"\1", b"\2"}
    assert stage.observers == 0
    codes = {record.message.code for record in stage.network.trace.select(source="server", type=CON) if record.message}
    assert codes == {Code.FORBIDDEN}


async def test_ending_takes_the_place_of_what_waits(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    await stage.ask(0)
    await sensor.change(2)
    assert (await stage.receive()).text == "2"
    sensor.resource.end()
    assert (await stage.receive_and_acknowledge()).code is Code.NOT_FOUND
    assert await stage.peer.hears_nothing(200)


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_registering_again_stops_the_error_that_is_on_its_way(
    is_waiting: bool, stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    """Otherwise it would arrive after the new state, and end the new observation at the client."""
    await stage.ask(0)
    if is_waiting:  # NSTART is 1.
        await stage.ask(0, 5, token=b"other")
        await sensor.change(2)
        await stage.receive_and_acknowledge()
        await stage.receive()
    sensor.resource.end()
    assert (await stage.receive()).code is Code.NOT_FOUND
    sensor.value = 3
    for n, token in enumerate((b"other", b"t") if is_waiting else (b"t",), start=2):
        assert (await stage.ask(0, n, token=token)).text == "3"
    assert await stage.peer.hears_nothing(200)
    await sensor.change(4)
    assert (await stage.receive_and_acknowledge()).text == "4"


async def test_an_error_that_was_acknowledged_leaves_nothing(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    for n in range(3):
        await stage.ask(0, n)
        sensor.resource.end()
        last = await stage.receive()
        if n == 0:
            stage.peer.acknowledge(last)
        elif n == 1:
            stage.peer.reset(last)
        await trio.sleep(100)
        assert len(stage.server.dispatcher.observers.farewells) == 0
    assert_nothing_is_left(stage.endpoint)

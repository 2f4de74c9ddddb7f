"""Strict by default: what a server sends without being asked again, and what it says to groups, one test for each row of the
table.
"""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.abc import Clock
from trio.testing import wait_all_tasks_blocked

from tests.client.support import open_peer
from tests.conformance.playing import PING, PONG, Calls, datagram
from tests.patience import passing, time_is_virtual
from tests.server.observing import Sensor
from tests.server.observing import open_stage as open_observed
from tests.server.stage import make_request, open_stage, with_option
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Block,
    Code,
    Endpoint,
    Message,
    MessageType,
    NotificationPolicy,
    Response,
    TransmissionParameters,
)
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS
from trio_coap.server import observer
from trio_coap.testing import VirtualNetwork

DAY = 24 * 3600


def quick() -> TransmissionParameters:
    """Return the parameters of a test that waits for a retransmission: in real time it comes in less than a second."""
    return DEFAULT_PARAMETERS if time_is_virtual() else attrs.evolve(DEFAULT_PARAMETERS, ack_timeout=0.5)


@pytest.mark.parametrize("kind", [ACK, RST])
async def test_row_acknowledgement_of_another_remote(
    kind: MessageType, network: VirtualNetwork, clock: Clock | None
) -> None:
    """Row: ACK or RST from another remote than the one the message went to: ignored, counted (RFC 7252 section 4.2)."""
    sensor = Sensor()
    async with open_observed(sensor.site, network, parameters=quick()) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        with open_peer(network, "other") as other:
            other.send(Message(type=kind, message_id=notification.message_id), stage.endpoint.remote)
            assert (await stage.receive()).encode() == notification.encode()
        assert sum(stage.endpoint.statistics().rejected.values()) == 1


async def test_row_notification_larger_than_a_block(network: VirtualNetwork, clock: Clock | None) -> None:
    """Row: notification larger than a block: first block in the notification, the rest by GET with Block2 (RFC 7959
    section 2.6).
    """
    sensor = Sensor()
    async with open_observed(sensor.site, network) as stage:
        await stage.ask(0)
        await sensor.change("x" * 1500)
        notification = await stage.receive_and_acknowledge()
        assert (len(notification.payload), notification.options.block2) == (1024, Block(0, True, 6))
        assert notification.options.observe is not None
        rest = await stage.ask(None, 2, token=b"u", block2=Block(1, False, 6))
        assert (len(rest.payload), rest.options.observe) == (476, None)
        assert rest.options.etag == notification.options.etag


@pytest.mark.parametrize("confirmable", [True, False])
async def test_row_reset_of_a_notification(confirmable: bool, network: VirtualNetwork, clock: Clock | None) -> None:
    """Row: RST to a notification, also to a NON one: observation ends, its handler task is cancelled (RFC 7641
    section 4.5).
    """
    sensor = Sensor(confirmable=confirmable)
    async with open_observed(sensor.site, network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        notification = await stage.receive()
        assert notification.type is (CON if confirmable else NON)
        sensor.delay = 50
        await sensor.change(3)
        stage.peer.reset(notification)
        stage.peer.endpoint.rawsendto(PING, stage.endpoint.remote)
        assert (await stage.peer.receive()).encode() == PONG
        await wait_all_tasks_blocked()
        assert (stage.observers, sensor.cancelled) == (0, 1)
        await sensor.change(4)
        assert await stage.peer.hears_nothing(2 * DAY)


async def test_row_notifications(network: VirtualNetwork, clock: Clock | None) -> None:
    """Row: notifications: at least one CON in 24 hours and after every few NON; a newer state replaces one that waits; Observe
    number rises over re-registration too (RFC 7641 sections 4.4, 4.5); the 24 hours have a test of their own.
    """
    sensor = Sensor(confirmable=False, max_non=2)
    async with open_observed(sensor.site, network, parameters=quick()) as stage:
        numbers = [(await stage.ask(0)).options.observe or 0]
        types = []
        for value in range(2, 8):
            await sensor.change(value)
            notification = await stage.receive_and_acknowledge()
            types.append(notification.type)
            numbers.append(notification.options.observe or 0)
            await trio.sleep(passing(observer.NON_INTERVAL))
        assert types == [NON, NON, CON, NON, NON, CON]
        numbers.append((await stage.ask(0, 2)).options.observe or 0)
        assert numbers == sorted(set(numbers))
        sensor.site.resource("/r", observable=NotificationPolicy())
        await sensor.change("first")
        assert (await stage.receive()).text == "first"
        await sensor.change("second")
        await sensor.change("third")
        assert (await stage.receive_and_acknowledge()).text == "third"
        assert await stage.peer.hears_nothing(1000)


async def test_row_notifications_within_a_day(network: VirtualNetwork, clock: Clock | None) -> None:
    """Row: notifications: at least one CON in 24 hours, whether anything has changed or not (RFC 7641 section 4.5)."""
    sensor = Sensor(confirmable=False)
    async with open_observed(sensor.site, network) as stage:
        await stage.ask(0)
        registered_at = trio.current_time()
        for _ in range(2):
            assert (await stage.receive_and_acknowledge()).type is CON
            assert trio.current_time() - registered_at == pytest.approx(DAY, abs=1)
            registered_at = trio.current_time()


async def test_row_multicast(network: VirtualNetwork, clock: Clock | None) -> None:
    """Row: request to a multicast group: no RST, no error responses unless asked, leisure delay, NON response from a
    unicast address (RFC 7252 section 8); a Confirmable one, or a malformed message, gets no answer.
    """
    async with open_stage(Calls().site, network) as stage:
        stage.endpoint.join_group("224.0.1.187")
        group = Endpoint(host="224.0.1.187")
        for octets in (
            datagram(CON),
            datagram(CON, "00", ""),
            datagram(CON, rest="b172ff"),
            with_option(65001, type=NON).encode(),
            make_request("nowhere", type=NON, message_id=1).encode(),
        ):
            stage.peer.send(octets, group)
            assert await stage.peer.hears_nothing(300)
        delays = []
        for message_id in range(2, 12):
            asked_at = trio.current_time()
            stage.peer.send(make_request(type=NON, message_id=message_id), group)
            response = await stage.peer.receive()
            delays.append(trio.current_time() - asked_at)
            assert (response.type, stage.peer.source) == (NON, stage.endpoint.remote)
            assert isinstance(response, Response)
            assert response.code is Code.CONTENT
        assert max(delays) <= stage.endpoint.parameters.default_leisure
        assert max(delays) - min(delays) > 1
        stage.peer.send(make_request("nowhere", type=NON, message_id=12, no_response=0), group)
        assert (await stage.peer.receive()).code is Code.NOT_FOUND

"""Which notifications a server sends, and when (RFC 7641 sections 4.3 to 4.5); the client is played by hand.

A docstring that starts with "Row" names the row of ``conformance.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.observing import DAY, Sensor, Stage, open_stage
from trio_coap import (
    CON,
    NON,
    Block,
    Code,
    Limits,
    LocalProtocolError,
    NotFound,
    NotificationPolicy,
    Observable,
    Request,
    Response,
    Site,
    block_policy,
)
from trio_coap.server.observer import LONGEST_UNCONFIRMED, NON_INTERVAL
from trio_coap.server.outgoing import MAX_CONTENT
from trio_coap.testing import VirtualNetwork


@pytest.fixture
def sensor() -> Sensor:
    return Sensor()


@pytest.fixture
async def stage(coap_network: VirtualNetwork, sensor: Sensor) -> AsyncIterator[Stage]:
    async with open_stage(sensor.site, coap_network) as opened:
        yield opened


# CON and NON.


async def test_after_a_few_non_confirmable_notifications_there_is_a_confirmable_one(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: notifications: at least one CON in 24 hours and after every few NON."""
    sensor = Sensor(confirmable=False, max_non=2)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        types = []
        for value in range(2, 9):
            await sensor.change(value)
            types.append((await stage.receive_and_acknowledge()).type)
            await trio.sleep(NON_INTERVAL)
        assert types == [NON, NON, CON, NON, NON, CON, NON]


@pytest.mark.parametrize("confirmable", [True, False])
async def test_there_is_a_confirmable_notification_every_24_hours(
    confirmable: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Row: notifications: at least one CON in 24 hours; also if nothing changes."""
    sensor = Sensor(confirmable=confirmable, max_non=1_000_000)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        started_at = trio.current_time()
        for day in range(1, 4):
            await sensor.change(day)
            if not confirmable:
                assert (await stage.receive()).type is NON
            else:
                await stage.receive_and_acknowledge()
            response = await stage.receive_and_acknowledge()
            assert response.type is CON
            assert trio.current_time() - started_at == pytest.approx(day * LONGEST_UNCONFIRMED, rel=0.001)


async def test_a_client_that_is_gone_is_found_out_within_24_hours(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    await stage.ask(0)
    await trio.sleep(DAY + 100)
    assert stage.observers == 0


async def test_non_confirmable_notifications_keep_their_distance(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """RFC 7641 section 4.5.1: one in 3 s to a client of which no round-trip time is known; the newest state wins."""
    sensor = Sensor(confirmable=False, max_non=1000)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0, token=b"a")
        await stage.ask(0, 2, token=b"b")
        for value in range(100):
            await sensor.change(value)
            await trio.sleep(0.1)
        await trio.sleep(10)
        notifications = [r for r in stage.network.trace.select(source="server", type=NON) if r.message]
        assert all(after.time - before.time > NON_INTERVAL - 0.001 for before, after in pairwise(notifications))
        assert 3 <= len(notifications) <= 6
        last = {r.message.token: r.message.payload for r in notifications if r.message}
        assert last == {b"a": b"99", b"b": b"99"}


async def test_once_the_round_trip_time_is_known_they_may_come_faster(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """RFC 7641 section 4.5.1: one in a round trip."""
    sensor = Sensor(confirmable=False, max_non=0)
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        await sensor.change(2)
        assert (await stage.receive_and_acknowledge()).type is CON
        sensor.site.resource("/r", observable=NotificationPolicy(confirmable=False, max_non=100))
        for value in range(3, 10):
            await sensor.change(value)
            await trio.sleep(0.01)
            assert (await stage.receive()).text == f"{value}"
        assert len(stage.network.trace.select(source="server", type=NON)) == 7


def test_the_policy_is_checked() -> None:
    with pytest.raises(LocalProtocolError):
        NotificationPolicy(max_non=-1)


# A newer state in place of one that waits.


async def test_a_newer_state_is_sent_when_the_old_one_would_be_repeated(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    """Row: notifications: a newer state replaces one that waits; retransmission carries the newest state."""
    await stage.ask(0)
    await sensor.change(2)
    first = await stage.receive()
    sent_at = trio.current_time()
    for value in range(3, 10):
        await sensor.change(value)
    second = await stage.receive()
    assert 2 <= trio.current_time() - sent_at <= 3
    assert second.text == "9"
    assert second.message_id != first.message_id
    assert (second.options.observe or 0) > (first.options.observe or 0)
    third = await stage.receive()
    assert third == second
    stage.peer.acknowledge(third)
    assert await stage.peer.hears_nothing(200)
    assert stage.observers == 1


async def test_a_newer_state_is_sent_after_the_acknowledgement(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    """Row: notifications: a newer state replaces one that waits; the states between are skipped."""
    await stage.ask(0)
    await sensor.change(2)
    first = await stage.receive()
    for value in range(3, 10):
        await sensor.change(value)
    stage.peer.acknowledge(first)
    acknowledged_at = trio.current_time()
    assert (await stage.receive_and_acknowledge()).text == "9"
    assert trio.current_time() - acknowledged_at < 0.1
    assert await stage.peer.hears_nothing(200)


async def test_new_states_do_not_put_off_giving_up(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    await stage.ask(0)
    started_at = trio.current_time()
    while stage.observers:
        await sensor.change(trio.current_time())
        await trio.sleep(0.5)
    assert trio.current_time() - started_at == pytest.approx(93, abs=1)
    assert len(stage.network.trace.select(source="server", type=CON)) == 5


async def test_one_notification_is_in_flight_to_a_client(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    """NSTART is 1: that of the second observer waits, and is replaced while it does."""
    await stage.ask(0, token=b"a")
    await stage.ask(0, 2, token=b"b")
    await sensor.change(2)
    await sensor.change(3)
    first = await stage.receive()
    assert await stage.peer.hears_nothing(1)
    stage.peer.acknowledge(first)
    # After the first one's ACK both have state 3 to send; the one that waited has its turn.
    received = [await stage.receive_and_acknowledge() for _ in range(2)]
    assert {response.token: response.text for response in received} == {b"a": "3", b"b": "3"}
    assert await stage.peer.hears_nothing(200)


async def test_changes_while_the_handler_runs_are_one_change(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    await stage.ask(0)
    sensor.delay = 1
    for value in range(2, 10):
        await sensor.change(value)
    assert (await stage.receive_and_acknowledge()).text == "2"
    assert (await stage.receive_and_acknowledge()).text == "9"
    assert sensor.runs == 3


# What holds for responses holds for notifications.


async def test_a_registration_takes_a_share_of_the_handlers_until_it_is_answered(
    coap_network: VirtualNetwork, sensor: Sensor, autojump_clock: MockClock
) -> None:
    async with open_stage(sensor.site, coap_network, max_running_handlers_per_remote=1) as stage:
        sensor.delay = 1000.0
        stage.send(0)
        await wait_all_tasks_blocked()
        refused = await stage.ask(0, 2, token=b"u")
        assert (refused.code, refused.options.observe) == (Code.SERVICE_UNAVAILABLE, None)
        assert stage.observers == 1
        sensor.delay = 0.0
        stage.send(1, 3)  # Cancels the handler, whose place is free then.
        await trio.sleep(1)
        assert sensor.cancelled == 1
        assert stage.server.dispatcher.running == 0


async def test_an_error_in_a_group_ends_it_as_itself(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    await stage.ask(0)
    await sensor.change(ExceptionGroup("of a nursery", [NotFound("no more")]))
    response = await stage.receive_and_acknowledge()
    assert (response.code, response.text) == (Code.NOT_FOUND, "no more")


async def test_what_an_observation_cannot_send_with_its_number_is_an_error(
    coap_network: VirtualNetwork, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    site, sizes = Site(), [MAX_CONTENT - 14]

    @site.get("/r", observable=True)
    @block_policy(sees_blocks=True)
    def read(request: Request) -> Response:
        return Response(payload=bytes(sizes[0]), block2=Block(0, False, 6))

    async with open_stage(site, coap_network) as stage:
        assert (await stage.ask(0, block2=Block(0, False, 6))).code is Code.CONTENT
        sizes[0] += 1
        site.resource("/r").notify()
        assert (await stage.receive_and_acknowledge()).code is Code.INTERNAL_SERVER_ERROR
        assert stage.observers == 0
    assert "too many for a datagram" in caplog.text


@pytest.mark.parametrize("confirmable", [True, False])
async def test_when_too_much_is_remembered_the_newest_state_waits(
    confirmable: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """The client is there and listens: that others were sent much is no reason to forget it."""
    sensor = Sensor(confirmable=confirmable)
    async with open_stage(sensor.site, coap_network, limits=Limits(max_sent=10)) as stage:
        await stage.ask(0)
        for value in range(2, 30):
            await sensor.change(value)
            with trio.move_on_after(5):
                await stage.receive_and_acknowledge()
        assert stage.observers == 1
        assert stage.endpoint.statistics().turned_away["max_sent"] > 0
        response = None
        with trio.move_on_after(300):
            while True:
                response = await stage.receive_and_acknowledge()
        assert response is not None
        assert response.text == "29"
        await sensor.change(30)
        assert (await stage.receive_and_acknowledge()).text == "30"


@pytest.mark.parametrize("is_slow", [False, True])
async def test_handlers_that_change_what_they_are_asked_for_come_to_rest(
    is_slow: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Two observers do not keep each other busy; and the next change counts again."""
    runs = 0

    async def handler(request: Request) -> str:
        nonlocal runs
        runs += 1
        await trio.sleep(0.01 if is_slow else 0)
        if runs > 1000:
            await trio.sleep_forever()
        state.notify()
        await trio.lowlevel.checkpoint()
        return f"{runs}"

    state = Observable(handler)
    async with open_stage(state, coap_network) as stage:
        for number in (1, 2):
            stage.send(0, number, token=b"%d" % number)
        for _ in range(3):
            before = runs
            state.notify()
            with trio.move_on_after(300):
                while True:
                    await stage.receive_and_acknowledge()
            assert before + 2 <= runs <= before + 10


async def test_what_a_handler_leaves_running_makes_changes_of_its_own(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    changes = 0

    async def change() -> None:
        nonlocal changes
        for _ in range(10):
            await trio.sleep(100)
            changes += 1
            state.notify()

    async def handler(request: Request) -> str:
        if changes == 0:
            nursery.start_soon(change)
        return f"{changes}"

    state = Observable(handler)
    async with open_stage(state, coap_network) as stage, trio.open_nursery() as nursery:
        changes = -1
        await stage.ask(0)
        changes = 0
        state.notify()
        assert [(await stage.receive_and_acknowledge()).text for _ in range(11)] == [f"{n}" for n in range(11)]

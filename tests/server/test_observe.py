"""Observations at a server (RFC 7641 section 4); the client is played by hand.

A docstring that starts with "Row" names the row of ``conformance.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.observing import Peer, assert_nothing_is_left, open_peer
from trio_coap import (
    ACK,
    CON,
    NON,
    Code,
    Endpoint,
    Forbidden,
    Limits,
    LocalProtocolError,
    MessageType,
    NotFound,
    NotificationPolicy,
    Observable,
    Options,
    Request,
    Response,
    Server,
    Site,
    open_client,
    serve,
)
from trio_coap.messaging.parameters import DEFAULT_LIMITS
from trio_coap.server.observer import LONGEST_UNCONFIRMED, NON_INTERVAL
from trio_coap.testing import VirtualEndpoint, VirtualNetwork

DAY = 24 * 3600


class Sensor:
    """A resource whose state the test sets."""

    def __init__(self, **policy: object) -> None:
        self.value: object = 1
        self.delay = 0.0
        self.runs = 0
        self.cancelled = 0
        self.site = Site()
        observable = NotificationPolicy(**policy) if policy else True  # type: ignore[arg-type]
        self.site.get("/r", observable=observable)(self.read)
        self.resource = self.site.resource("/r")

    async def read(self, request: Request) -> Response:
        self.runs += 1
        value = self.value
        try:
            await trio.sleep(self.delay)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if isinstance(value, Exception):
            raise value
        return value if isinstance(value, Response) else Response(payload=f"{value}", max_age=7)

    async def change(self, value: object) -> None:
        self.value = value
        self.resource.notify()
        await wait_all_tasks_blocked()


@attrs.frozen
class Stage:
    server: Server
    endpoint: VirtualEndpoint
    peer: Peer
    network: VirtualNetwork

    @property
    def observers(self) -> int:
        return len(self.server.dispatcher.observers)

    def send(
        self,
        observe: int | None,
        message_id: int = 1,
        *,
        token: bytes = b"t",
        path: str = "r",
        code: Code = Code.GET,
        type: MessageType = CON,
        peer: Peer | None = None,
        **options: object,
    ) -> Request:
        options["uri_path"] = path.split("/")
        request = Request(code, type=type, token=token, message_id=message_id, observe=observe, **options)  # type: ignore[arg-type]
        (peer or self.peer).send(request, self.endpoint.remote)
        return request

    async def ask(self, observe: int | None, message_id: int = 1, **arguments: object) -> Response:
        self.send(observe, message_id, **arguments)  # type: ignore[arg-type]
        return await self.receive()

    async def receive(self) -> Response:
        with trio.fail_after(2 * DAY):
            return await self.peer.receive_response()

    async def receive_and_acknowledge(self) -> Response:
        response = await self.receive()
        if response.type is CON:
            self.peer.acknowledge(response)
            await trio.sleep(0.01)
        return response


@asynccontextmanager
async def open_stage(
    handler: object, network: VirtualNetwork, *, limits: Limits = DEFAULT_LIMITS, **arguments: int
) -> AsyncIterator[Stage]:
    async with (
        network.open_endpoint("server", 5683, limits=limits) as endpoint,
        trio.open_nursery() as nursery,
    ):

        async def start(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(handler, endpoint=endpoint, task_status=task_status, **arguments)  # type: ignore[arg-type]

        server: Server = await nursery.start(start)
        with open_peer(network) as peer:
            yield Stage(server, endpoint, peer, network)
        nursery.cancel_scope.cancel()


@pytest.fixture
def sensor() -> Sensor:
    return Sensor()


@pytest.fixture
async def stage(coap_network: VirtualNetwork, sensor: Sensor) -> AsyncIterator[Stage]:
    async with open_stage(sensor.site, coap_network) as opened:
        yield opened


# Registration.


async def test_observers_get_each_state(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    first = await stage.ask(0)
    assert (first.type, first.code, first.text, first.token) == (ACK, Code.CONTENT, "1", b"t")
    assert first.options.max_age == 7
    numbers = [first.options.observe or 0]
    for value in range(2, 6):
        await sensor.change(value)
        response = await stage.receive_and_acknowledge()
        assert (response.type, response.token, response.text) == (CON, b"t", f"{value}")
        assert response.options.max_age == 7
        numbers.append(response.options.observe or 0)
    assert all(before < after for before, after in pairwise(numbers))


@pytest.mark.parametrize(
    ("observe", "arguments"),
    [(None, {}), (1, {}), (2, {}), (0, {"path": "other"}), (0, {"code": Code.PUT, "path": "w"}), (0, {"path": "fail"})],
)
async def test_everything_else_is_not_entered(
    observe: int | None, arguments: dict[str, object], stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    def fail(request: Request) -> str:
        raise Forbidden

    sensor.site.get("/other")(lambda request: "not observable")
    sensor.site.get("/fail", observable=True)(fail)
    sensor.site.resource("/w", observable=True).put(lambda request: "written")
    response = await stage.ask(observe, **arguments)  # type: ignore[arg-type]
    assert response.options.observe is None
    assert stage.observers == 0


async def test_registering_again_replaces(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    """Row: notifications: Observe number rises over re-registration too."""
    first = await stage.ask(0)
    second = await stage.ask(0, 2)
    assert stage.observers == 1
    await sensor.change(2)
    third = await stage.receive_and_acknowledge()
    assert await stage.peer.hears_nothing(200)
    await stage.ask(1, 3)
    fourth = await stage.ask(0, 4)
    numbers = [response.options.observe or 0 for response in (first, second, third, fourth)]
    assert numbers == sorted(set(numbers))


async def test_registering_again_stops_what_is_on_its_way(
    stage: Stage, sensor: Sensor, autojump_clock: MockClock
) -> None:
    await stage.ask(0)
    await sensor.change(2)
    await stage.receive()
    assert (await stage.ask(0, 2)).text == "2"
    assert await stage.peer.hears_nothing(200)


async def test_a_token_is_registered_for_one_resource(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    sensor.site.get("/other", observable=True)(lambda request: "other")
    await stage.ask(0)
    await stage.ask(0, 2, path="other")
    assert stage.observers == 1
    await sensor.change(2)
    assert await stage.peer.hears_nothing(100)
    sensor.site.resource("/other").notify()
    assert (await stage.receive()).text == "other"


async def test_the_method_fetch_registers(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    sensor.site.fetch("/f", observable=True)(lambda request: request.payload)
    assert (await stage.ask(0, path="f", code=Code.FETCH)).options.observe is not None
    sensor.site.resource("/f").notify()
    assert (await stage.receive()).options.observe is not None


async def test_a_slow_first_response_registers(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    """A change while the handler runs is notified after it."""
    sensor.delay = 5
    stage.send(0)
    await trio.sleep(2)
    await sensor.change(2)
    assert (await stage.peer.receive()).is_empty
    first = await stage.receive_and_acknowledge()
    assert (first.type, first.text) == (CON, "1")
    assert (await stage.receive_and_acknowledge()).text == "2"


async def test_a_non_confirmable_registration(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    response = await stage.ask(0, type=NON)
    assert (response.type, response.options.observe is not None) == (NON, True)
    await sensor.change(2)
    assert (await stage.receive()).type is CON


async def test_a_group_request_does_not_register(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    stage.endpoint.join_group("224.0.1.187")
    request = Request(Code.GET, type=NON, message_id=1, token=b"t", options=Options(uri_path=["r"], observe=0))
    stage.peer.send(request, Endpoint(host="224.0.1.187"))
    assert (await stage.receive()).options.observe is None
    assert stage.observers == 0


async def test_above_the_limit_there_is_a_response_without_observe(
    coap_network: VirtualNetwork, sensor: Sensor, autojump_clock: MockClock
) -> None:
    """Issue 3: number of observers bounded."""
    async with open_stage(sensor.site, coap_network, max_observers=3, max_observers_per_remote=2) as stage:
        observes = [(await stage.ask(0, n, token=bytes([n]))).options.observe for n in range(3)]
        assert [observe is not None for observe in observes] == [True, True, False]
        with open_peer(coap_network, "another") as another:
            for n, expected in ((1, True), (2, False)):
                stage.send(0, n, token=bytes([n]), peer=another)
                assert ((await another.receive_response()).options.observe is not None) is expected
        turned_away = stage.endpoint.statistics().turned_away
        assert turned_away == {"max_observers_per_remote": 1, "max_observers": 1}
        await stage.ask(1, 7, token=bytes([0]))
        assert (await stage.ask(0, 8, token=b"new")).options.observe is not None


# The end.


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


# What is observable.


async def test_only_those_are_notified_whose_parameters_match(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()
    site.get("/lamps/{number:int}/{what}", observable=True)(lambda request, number, what: f"{number} {what}")
    resource = site.resource("/lamps/{number:int}/{what}")
    async with open_stage(site, coap_network) as stage:
        for n, path in enumerate(["lamps/1/on", "lamps/1/off", "lamps/2/on"]):
            await stage.ask(0, n, token=bytes([n]), path=path)

        async def notified(notify: Callable[[], None]) -> list[str]:
            notify()
            texts = []
            with trio.move_on_after(1):
                while True:
                    texts.append((await stage.receive_and_acknowledge()).text)
            return sorted(texts)

        assert await notified(lambda: resource.notify(number=1)) == ["1 off", "1 on"]
        assert await notified(lambda: resource.notify(number=2, what="on")) == ["2 on"]
        assert await notified(lambda: resource.notify(number=3)) == []
        assert await notified(lambda: resource.notify(unknown=1)) == []
        assert await notified(resource.notify) == ["1 off", "1 on", "2 on"]
        resource.end(number=1)
        assert stage.observers == 1


async def test_a_handler_without_a_site_can_be_observed(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    values = ["first", "second"]
    observable = Observable(lambda request: values.pop(0))
    async with open_stage(observable, coap_network) as stage:
        assert (await stage.ask(0)).text == "first"
        assert len(observable) == 1
        observable.notify()
        assert (await stage.receive_and_acknowledge()).text == "second"
        observable.end()
        assert (await stage.receive()).code is Code.NOT_FOUND


async def test_a_mounted_site_can_be_observed(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    sensor, site = Sensor(), Site()
    site.mount("/below", sensor.site)
    async with open_stage(site, coap_network) as stage:
        assert (await stage.ask(0, path="below/r")).options.observe is not None
        await sensor.change(2)
        assert (await stage.receive()).text == "2"


def test_what_is_not_declared_cannot_notify() -> None:
    resource = Site().resource("/r")
    with pytest.raises(LocalProtocolError):
        resource.notify()
    with pytest.raises(LocalProtocolError):
        resource.end()
    with pytest.raises(LocalProtocolError):
        Observable()(Request(Code.GET))


async def test_a_client_on_the_same_network_sees_it(stage: Stage, sensor: Sensor, autojump_clock: MockClock) -> None:
    async with (
        stage.network.open_endpoint("client") as endpoint,
        open_client(endpoint=endpoint, base_uri=stage.endpoint.remote.uri) as client,
        client.observe("/r") as observation,
    ):
        assert (await observation.receive()).text == "1"
        await sensor.change(2)
        assert (await observation.receive()).text == "2"

"""The two tasks of every driver, and how its context manager ends."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_coap import Code, Endpoint, LocalEndpoint, Message, Request, TransmissionParameters
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.sent import SentState
from trio_coap.testing import VirtualNetwork
from trio_coap.transports.driver import DrivenEndpoint, raise_single, run_endpoint
from trio_coap.wire.message import EndpointAddress

REMOTE = Endpoint(("192.0.2.9", 5683))


class Driver(DrivenEndpoint):
    """A driver without a network: it notes when it sends, and how often its cache task wakes."""

    def _reset(self) -> None:
        super()._reset()
        self.sent: list[tuple[float, bytes]] = []
        self.wakings = 0
        self.send_error: Exception | None = None
        self.failure: Exception | None = None

    def _rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        if self.send_error is not None:
            raise self.send_error
        self.sent.append((trio.current_time(), data))

    def process_due(self, now: float, *, limit: int = 1000) -> float:
        self.wakings += 1
        return super().process_due(now, limit=limit)

    async def _receive_task(self) -> None:
        if self.failure is not None:
            raise self.failure
        await trio.sleep_forever()


def make_driver(**arguments: Any) -> Driver:
    return Driver(("192.0.2.1", 0), **arguments)


EXACT = TransmissionParameters(ack_random_factor=1)


async def test_the_cache_task_wakes_when_something_is_due_and_not_before(autojump_clock: MockClock) -> None:
    driver = make_driver(parameters=EXACT)
    async with run_endpoint(driver):
        await wait_all_tasks_blocked()
        assert driver.wakings == 1
        await trio.sleep(1000)
        assert driver.wakings == 1
        started_at = trio.current_time()
        driver.send(Request(Code.GET), REMOTE)
        await trio.sleep(1000)
        assert [at - started_at for at, _ in driver.sent] == [0, 2, 6, 14, 30]
        # Retransmissions, giving up, and forgetting; nothing in between.
        assert driver.wakings <= 1 + 4 + 1 + 1 + 1


async def test_the_cache_task_wakes_earlier_for_what_is_due_earlier(autojump_clock: MockClock) -> None:
    driver = make_driver(parameters=EXACT)
    async with run_endpoint(driver):
        started_at = trio.current_time()
        driver.send(Request(Code.GET), REMOTE, parameters=TransmissionParameters(ack_timeout=500, ack_random_factor=1))
        await trio.sleep(1)
        driver.send(Request(Code.GET), Endpoint(("192.0.2.10", 5683)))
        await trio.sleep(5)
        assert [at - started_at for at, _ in driver.sent] == [0, 1, 3]


async def test_what_is_completed_does_not_wake_before_its_expiry(autojump_clock: MockClock) -> None:
    driver = make_driver(parameters=EXACT)
    async with run_endpoint(driver):
        entry = driver.send(Request(Code.GET), REMOTE)
        entry.complete(driver.clock())
        await trio.sleep(231)
        assert driver.statistics().sent == 1
        await trio.sleep(2)
        assert driver.statistics().sent == 0
        assert len(driver.sent) == 1


async def test_much_that_is_due_at_once_does_not_keep_others_from_their_turn(autojump_clock: MockClock) -> None:
    driver = make_driver(parameters=EXACT)
    async with run_endpoint(driver):
        for number in range(2500):
            driver.send(Request(Code.GET), Endpoint(("10.0.0.1", 1 + number)))
        await trio.sleep(1.9)
        wakings = driver.wakings
        await trio.sleep(0.2)
        assert driver.statistics().retransmissions == 2500
        turns = driver.wakings - wakings
    assert turns >= 3  # At most 1000 in one go.


async def test_two_endpoints_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    one, two = make_driver(parameters=EXACT), make_driver(parameters=EXACT)
    async with run_endpoint(one), run_endpoint(two):
        one.send(Request(Code.GET), REMOTE)
        await trio.sleep(1)
        two.send(Request(Code.GET), REMOTE)
        await trio.sleep(1.5)
        assert (len(one.sent), len(two.sent)) == (2, 1)


# Ending.


class Trouble(Exception):
    """What a body raises."""


async def test_an_exception_of_the_body_comes_out_as_itself(autojump_clock: MockClock) -> None:
    cause, context = KeyError("cause"), ValueError("context")
    error = Trouble("body")
    error.__cause__, error.__context__ = cause, context
    driver = make_driver()
    with pytest.raises(Trouble) as info:
        async with run_endpoint(driver):
            raise error
    assert info.value is error
    assert (error.__cause__, error.__context__, error.__suppress_context__) == (cause, context, True)
    assert driver.is_closed


async def test_a_group_that_the_body_raises_comes_out_as_itself(autojump_clock: MockClock) -> None:
    group = ExceptionGroup("mine", [Trouble("one")])
    with pytest.raises(ExceptionGroup) as info:
        async with run_endpoint(make_driver()):
            raise group
    # Trio splits groups on their way, so it is another object.
    assert (info.value.message, info.value.exceptions) == ("mine", group.exceptions)


async def test_a_failing_task_cancels_the_body_and_its_error_comes_out_as_itself(autojump_clock: MockClock) -> None:
    driver = make_driver()
    driver.failure = Trouble("task")
    with pytest.raises(Trouble, match="task"):
        async with run_endpoint(driver):
            await trio.sleep_forever()
    assert driver.is_closed


def test_of_several_exceptions_the_group_is_raised() -> None:
    group = ExceptionGroup("both", [Trouble("one"), Trouble("two")])
    with pytest.raises(ExceptionGroup) as info:
        raise_single(group)
    assert info.value is group


async def test_when_the_scope_around_is_cancelled_the_body_ends_first_and_can_still_send(
    autojump_clock: MockClock,
) -> None:
    driver = make_driver(parameters=EXACT)
    with trio.move_on_after(10) as scope:
        async with run_endpoint(driver):
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    driver.send(Request(Code.DELETE), REMOTE)
                    await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [at for at, _ in driver.sent] == [10, 12]  # Even the retransmission works.
    assert driver.is_closed


async def test_closing_inside_the_body_is_fine(autojump_clock: MockClock) -> None:
    driver = make_driver()
    async with run_endpoint(driver):
        driver.send(Request(Code.GET), REMOTE)
        driver.close()
        driver.close()
        await trio.sleep(1000)
        assert len(driver.sent) == 1
        with pytest.raises(trio.ClosedResourceError):
            driver.send(Request(Code.GET), REMOTE)
    assert driver.queue.earliest() == math.inf


async def test_a_driver_that_cannot_send_fails_its_messages_and_goes_on(autojump_clock: MockClock) -> None:
    driver = make_driver(parameters=EXACT)
    async with run_endpoint(driver):
        entry = driver.send(Request(Code.GET), REMOTE)
        driver.send_error = trio.ClosedResourceError("no socket")
        await trio.sleep(10)
        assert entry.state is SentState.COMPLETED
        driver.send(Request(Code.GET), REMOTE)
        assert driver.statistics().sent == 2
        driver.close()
        with pytest.raises(trio.ClosedResourceError, match="is closed"):
            driver.send(Request(Code.GET), REMOTE)
        assert driver.statistics().sent == 0


async def test_the_tasks_end_with_the_body(autojump_clock: MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with run_endpoint(make_driver()):
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living > before
    assert trio.lowlevel.current_statistics().tasks_living == before


# Defects of ours.


class Defect:
    """A request listener that raises, which none may."""

    def __init__(self) -> None:
        self.calls = 0

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        self.calls += 1
        raise ZeroDivisionError("a defect")


async def test_an_exception_inside_the_engine_does_not_end_the_receive_task(
    coap_network: VirtualNetwork, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    defect = Defect()
    async with coap_network.open_endpoint("server", 5683) as server, coap_network.open_endpoint("client") as client:
        server.request_listener = defect
        for number in range(3):
            client.rawsendto(Request(Code.GET, message_id=number).encode(), server.remote)
            await trio.sleep(1)
        assert defect.calls == 3
        assert server.statistics().rejected == {"an error of our own": 3}
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert errors[0].exc_info is not None


async def test_an_icmp_error_that_meets_a_defect_does_not_end_the_receive_task(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    class Listener:
        def message_acknowledged(self, entry: object, now: float) -> None:
            raise AssertionError

        def message_failed(self, entry: object, error: object, now: float) -> None:
            raise ZeroDivisionError("a defect")

        def endpoint_closed(self) -> None:
            raise AssertionError

    coap_network.host("10.1.0.1")
    async with coap_network.open_endpoint("client") as client:
        for number in range(2):
            client.send(Message(), Endpoint(host="10.1.0.1"), listener=Listener())
            await trio.sleep(1)
            assert client.statistics().rejected == {"an error of our own": number + 1}


async def test_a_driver_that_does_not_say_how_to_receive_is_no_driver() -> None:
    with pytest.raises(NotImplementedError):
        await DrivenEndpoint(("192.0.2.1", 0))._receive_task()


def test_two_drivers_at_one_address_are_one() -> None:
    one = Driver(("192.0.2.7", 7))
    assert Driver(("192.0.2.7", 7)) is one
    assert isinstance(one, LocalEndpoint)
    assert Endpoint(("192.0.2.7", 7)) is not one

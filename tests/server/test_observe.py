"""Registering observers at a server, and what can be observed (RFC 7641 section 4.1); the client is played by hand.

A docstring that starts with "Row" names the row of ``conformance.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from tests.observing import open_peer
from tests.server.observing import Sensor, Stage, open_stage
from trio_coap import (
    ACK,
    CON,
    NON,
    Code,
    Endpoint,
    Forbidden,
    LocalProtocolError,
    Observable,
    Options,
    Request,
    Site,
    open_client,
)
from trio_coap.testing import VirtualNetwork


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


async def test_observe_numbers_rise_for_each_observer(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()
    site.get("/r/{number:int}", observable=True)(lambda request, number: f"{number}")
    resource = site.resource("/r/{number:int}")
    async with open_stage(site, coap_network) as stage:
        numbers: dict[bytes, list[int]] = {}
        for number in (1, 2):
            response = await stage.ask(0, number, token=bytes([number]), path=f"r/{number}")
            numbers[response.token] = [response.options.observe or 0]
        for changed in ((1, 2), (1,), (1,), (2,), (1, 2)):
            if changed == (1, 2):
                resource.notify()
            else:
                resource.notify(number=changed[0])
            for _ in changed:
                response = await stage.receive_and_acknowledge()
                numbers[response.token].append(response.options.observe or 0)
        first, second = numbers[b"\1"], numbers[b"\2"]
        assert all(before < after for of_one in (first, second) for before, after in pairwise(of_one))


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


@pytest.mark.parametrize(
    "refusal",
    [{"if_match": [b"x"]}, {"proxy_scheme": "coap"}, {"hop_limit": 0}, {"code": Code(9)}],
    ids=["4.02", "5.05", "4.00", "4.05"],
)
@pytest.mark.parametrize("observe", [0, 1])
async def test_who_is_refused_before_a_handler_is_asked_observes_no_longer(
    observe: int, refusal: dict[str, object], coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    sensor = Sensor()
    async with open_stage(sensor.site, coap_network) as stage:
        await stage.ask(0)
        refused = await stage.ask(observe, 2, **refusal)
        assert not refused.code.is_success
        assert stage.observers == 0
        await sensor.change(2)
        assert await stage.peer.hears_nothing(300)


async def test_who_registers_again_and_wants_no_success_observes_no_longer(
    stage: Stage, autojump_clock: MockClock
) -> None:
    await stage.ask(0)
    stage.send(0, 2, no_response=2)
    assert (await stage.peer.receive()).is_empty
    assert stage.observers == 0

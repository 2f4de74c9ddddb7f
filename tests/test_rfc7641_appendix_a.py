"""The example exchanges of RFC 7641 between a client and a server, by figure number, message by message.

Figure 2 is that of section 1.2, the others those of Appendix A.1; figures 7 and 8 have a proxy between the two.  Our
numbers rise by one where the figures take the time for them, and our client registers again under the same token,
where the figures draw another one: section 3.3.1 allows both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.observing import state
from trio_coap import Client, Code, Message, Request, Response, Server, Site
from trio_coap.testing import DROP, VirtualNetwork, open_pair

ETAG = b"xyzzy"
"""That of 19.7 Cel in the figures; other states have none."""


class Thermometer:
    """The resource of the figures; each state is 15 s old at most."""

    def __init__(self, degrees: str) -> None:
        self.degrees = degrees
        self.site = Site()
        self.site.get("/temperature", observable=True)(self.read)

    def read(self, request: Request) -> Response:
        etag = ETAG if self.degrees == "19.7" else None
        if etag in request.options.etags:
            return Response(Code.VALID, etag=etag, max_age=15)
        return Response(payload=f"{self.degrees} Cel".encode(), max_age=15, etag=etag)

    def change(self, degrees: str) -> None:
        self.degrees = degrees
        self.site.resource("/temperature").notify()


@attrs.frozen
class Figure:
    network: VirtualNetwork
    client: Client
    server: Server

    def arrows(self, since: int = 0) -> list[str]:
        """The messages in short: type, code, Observe and payload."""
        return [_text(record.message) for record in self.network.trace.since(since) if record.message is not None]

    def tokens(self) -> set[bytes]:
        return {r.message.token for r in self.network.trace if r.message is not None and not r.message.is_empty}


def _text(message: Message) -> str:
    observe = message.options.observe
    parts = [message.type.name, message.code.dotted, "" if observe is None else f"Observe {observe}", message.text]
    return " ".join(part for part in parts if part)


@asynccontextmanager
async def open_figure(thermometer: Thermometer, network: VirtualNetwork) -> AsyncIterator[Figure]:
    async with open_pair(thermometer.site, network=network) as (client, server):
        yield Figure(network, client, server)


async def test_figure_2_observing_a_resource(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    thermometer = Thermometer("22.9")
    async with open_figure(thermometer, coap_network) as figure:
        async with figure.client.observe("/temperature") as observation:
            received = [(await observation.receive()).text]
            for degrees in ("22.8", "23.1"):
                thermometer.change(degrees)
                received.append((await observation.receive()).text)
        assert received == ["22.9 Cel", "22.8 Cel", "23.1 Cel"]
        assert len(figure.tokens()) == 1


async def test_figure_3_registering_and_a_notification_of_a_new_state(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    thermometer = Thermometer("18.5")
    async with open_figure(thermometer, coap_network) as figure, figure.client.observe("/temperature") as observation:
        first = await observation.receive()
        await trio.sleep(7)
        thermometer.change("19.2")
        second = await observation.receive()
        assert [response.options.max_age for response in (first, second)] == [15, 15]
        # The figure's notification is a NON; it takes no notice of acknowledgements.
        assert figure.arrows()[:3] == [
            "CON 0.01 Observe 0",
            "ACK 2.05 Observe 1 18.5 Cel",
            "CON 2.05 Observe 2 19.2 Cel",
        ]


async def test_figure_4_registering_again_after_max_age(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """The notification of 19.7 Cel is lost, with all that repeats it."""
    thermometer = Thermometer("19.2")
    async with open_figure(thermometer, coap_network) as figure, figure.client.observe("/temperature") as observation:
        await observation.receive()
        registered_at = trio.current_time()
        await trio.sleep(2)
        since = figure.network.trace.total

        def lose_notifications(datagram):
            return DROP if datagram.message is not None and datagram.message.type.name == "CON" else None

        with figure.network.filtering(
            lambda d: lose_notifications(d) if d.involves("server", as_source=True) else None
        ):
            thermometer.change("19.7")
            response = await observation.receive()
        assert (response.text, response.options.etag) == ("19.7 Cel", ETAG)
        assert 15 + 5 <= trio.current_time() - registered_at <= 15 + 15.1
        arrows = [arrow for arrow in figure.arrows(since) if "CON 2.05" not in arrow]
        assert arrows[:2] == ["CON 0.01 Observe 0", "ACK 2.05 Observe 3 19.7 Cel"]


async def test_figure_5_registering_again_with_a_stored_response(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """The client stores 19.7 Cel, and says so by its ETag: first it is not the state, and then a 2.03 says that it is."""
    thermometer = Thermometer("19.5")
    async with (
        open_figure(thermometer, coap_network) as figure,
        figure.client.observe("/temperature", etag=ETAG) as observation,
    ):
        await observation.receive()
        registered_at, since = trio.current_time(), figure.network.trace.total
        figure.server.dispatcher.observers.clear()  # It crashes, and is started anew.
        thermometer.change("20.0")
        assert (await observation.receive()).text == "20.0 Cel"
        assert 15 + 5 <= trio.current_time() - registered_at <= 15 + 15.1
        await trio.sleep(7)
        thermometer.change("19.7")
        last = await observation.receive()
        assert (last.code, last.options.etag, last.payload) == (Code.VALID, ETAG, b"")
        assert observation.is_observed
        assert figure.arrows(since)[:3] == [
            "CON 0.01 Observe 0",
            "ACK 2.05 Observe 2 20.0 Cel",
            "CON 2.03 Observe 3",
        ]


async def test_figure_6_a_client_rejects_a_notification(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    thermometer = Thermometer("19.7")
    async with open_figure(thermometer, coap_network) as figure:
        observation = figure.client.observe("/temperature")
        await observation.__aenter__()
        await observation.receive()
        observation._end()  # It is started anew, and knows of nothing.
        since = figure.network.trace.total
        thermometer.change("19.3")
        await trio.sleep(1)
        assert figure.arrows(since) == ["CON 2.05 Observe 2 19.3 Cel", "RST 0.00"]
        assert len(figure.server.dispatcher.observers) == 0
        thermometer.change("19.0")
        await trio.sleep(300)
        assert len(figure.arrows(since)) == 2


@pytest.mark.parametrize("is_reordered", [True, False])
async def test_section_3_4_a_reordered_notification_is_dropped(
    is_reordered: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Not a figure: the case that section 3.4 is about."""
    thermometer = Thermometer("20.0")
    async with open_figure(thermometer, coap_network) as figure, figure.client.observe("/temperature") as observation:
        await observation.receive()
        remote = figure.client.endpoint
        for number in (0x10, 0x0F) if is_reordered else (0x0F, 0x10):
            notification = state(number, f"{number}")
            notification.token, notification.message_id = observation.request.token, 0x5000 + number
            figure.network.inject(notification, figure.server.endpoint, remote)
        await trio.sleep(1)
        assert (await observation.receive()).text == "16"
        assert observation.skipped == (0 if is_reordered else 1)

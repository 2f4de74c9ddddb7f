"""Cancelling: at whatever await it comes, nothing of the request goes on."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Unpack

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.support import Peer, assert_nothing_is_left, open_peer, reply
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Block,
    Client,
    CoapError,
    Code,
    Endpoint,
    Request,
    Response,
    TransmissionParameters,
    open_client,
)
from trio_coap.client.arguments import TransferArguments
from trio_coap.testing import DROP, VirtualNetwork

Operation = Callable[[], Awaitable[object]]

MOST_AWAITS = 100
"""No operation here awaits as often; a test that counts further would go on for ever."""


PATIENT = TransmissionParameters(ack_timeout=100_000)
"""For a request that takes the NSTART slot all day."""


class Canceller(trio.abc.Instrument):
    """Cancels a task when it has come to its n-th await: while it waits there, or when it has just been woken."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, number: int, *, is_waiting: bool) -> None:
        self._task = task
        self._scope = scope
        self._left = number
        self._is_waiting = is_waiting
        self.has_cancelled = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_waiting:
            self._count(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._is_waiting:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if task is not self._task:
            return
        if self._left == 0:
            self.has_cancelled = True
            self._scope.cancel()
        self._left -= 1


async def run_cancelled_at(operation: Operation, number: int, *, is_waiting: bool) -> bool:
    """Run *operation* in a task of its own, cancelled at its n-th await; say whether it came that far."""
    cancellers: list[Canceller] = []

    async def run() -> None:
        with trio.CancelScope() as scope:
            canceller = Canceller(trio.lowlevel.current_task(), scope, number, is_waiting=is_waiting)
            cancellers.append(canceller)
            trio.lowlevel.add_instrument(canceller)
            try:
                await operation()
            except CoapError:
                pass
            finally:
                # What happens on the way out is a part of the operation; what comes behind it is not.
                trio.lowlevel.remove_instrument(canceller)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
    return cancellers[0].has_cancelled


async def cancel_at_every_await(operation: Operation, check: Callable[[], Awaitable[None]]) -> int:
    """Run *operation* again and again, cancelled at the first await, the second, and so on; return how many it has."""
    await wait_all_tasks_blocked()
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    awaits = 0
    for is_waiting in (True, False):
        awaits = 0
        while await run_cancelled_at(operation, awaits, is_waiting=is_waiting):
            awaits += 1
            assert awaits < MOST_AWAITS
            await check()
            await trio.sleep(10)  # What peers do late is over by then.
            assert trio.lowlevel.current_statistics().tasks_living == tasks_before
        await check()
    return awaits


@attrs.frozen
class Stage:
    """A client, and whom it may ask."""

    network: VirtualNetwork
    client: Client


LINKS = b"</sensors/temperature>;rt=temperature-c"
STATE = b"a state of three blocks, 40 octets long.."


def in_block(request: Request, body: bytes, **options: object) -> Response:
    """Return the block of *body* that is asked for."""
    block = request.options.block2 or Block.of(0, False, 16)
    end = block.start + block.size
    block2 = Block.of(block.number, end < len(body), block.size)
    return Response(Code.CONTENT, body[block.start : end], block2=block2, **options)  # type: ignore[arg-type]


def challenge_or_answer(request: Request) -> Response:
    return Response(Code.CONTENT, b"fresh") if request.options.echo else Response(Code.UNAUTHORIZED, echo=b"fresh?")


AT_ONCE: dict[tuple[str, ...], Callable[[Request], Response]] = {
    ("fast",): lambda request: Response(Code.CONTENT, b"fast"),
    ("echo",): challenge_or_answer,
    ("watched",): lambda request: in_block(request, STATE, observe=7 if request.options.observe == 0 else None),
    (".well-known", "core"): lambda request: in_block(request, LINKS, content_format=40),
    ("busy",): lambda request: Response(Code.SERVICE_UNAVAILABLE, max_age=3),
}


async def answer(peer: Peer) -> None:
    """Answer by path: at once, with a separate response after five seconds, or never."""
    message_id = 0
    async with trio.open_nursery() as nursery:
        while True:
            message = await peer.receive()
            if message.is_empty:
                if message.type is CON:
                    peer.reset(message)
            elif isinstance(message, Request) and message.options.uri_path == ("slow",):
                peer.acknowledge(message)
                message_id += 1
                nursery.start_soon(answer_late, peer, message, message_id)
            elif isinstance(message, Request) and message.options.uri_path == ("told",):
                peer.acknowledge(message)
            elif isinstance(message, Request) and message.options.uri_path in AT_ONCE:
                response = AT_ONCE[message.options.uri_path](message)
                peer.send(reply(message, response, type=NON if message.type is NON else ACK))


async def answer_late(peer: Peer, request: Request, message_id: int) -> None:
    await trio.sleep(5)
    peer.send(reply(request, Response(Code.CONTENT, b"slow"), type=CON, message_id=message_id))


@pytest.fixture
async def stage(coap_network: VirtualNetwork) -> AsyncIterator[Stage]:
    """A client; "server", which answers; "silent", which does not; and "both": an address of nobody, then one that answers."""
    network = coap_network
    network.host("10.1.0.1", name="server")
    network.host("10.1.0.2", name="silent", port_unreachable=False)
    network.host("2001:db8::1", "10.1.0.3", name="both")
    async with (
        network.open_endpoint(network.host("10.1.0.9", "2001:db8::9", name="client")) as endpoint,
        open_client(endpoint=endpoint) as client,
        trio.open_nursery() as nursery,
    ):
        with open_peer(network, "server") as server, open_peer(network, "10.1.0.3") as one_of_two:
            nursery.start_soon(answer, server)
            nursery.start_soon(answer, one_of_two)
            yield Stage(network, client)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def outstanding_request(client: Client, uri: str) -> AsyncIterator[None]:
    async with client.request(Code.GET, uri, parameters=PATIENT):
        yield


async def watch(client: Client, uri: str, **arguments: Unpack[TransferArguments]) -> None:
    async with client.observe(uri, **arguments) as observation:
        await observation.receive()


async def ask_again_although_it_is_busy(client: Client) -> None:
    patient = Client(client.endpoint, holds_back=True)
    await patient.get("coap://10.1.0.1/busy")
    await patient.tell(Code.PUT, "coap://10.1.0.1/told", "on")
    await patient.get("coap://10.1.0.1/busy")
    await watch(patient, "coap://10.1.0.1/watched")


REQUESTS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "piggybacked": lambda client: client.get("coap://10.1.0.1/fast"),
    "separate": lambda client: client.get("coap://10.1.0.1/slow"),
    "acknowledged, not answered": lambda client: client.get("coap://10.1.0.1/never"),
    "Non-confirmable": lambda client: client.get("coap://10.1.0.1/fast", confirmable=False),
    "by name": lambda client: client.get("coap://server/fast"),
    "second address": lambda client: client.get("coap://both/slow"),
    "silence": lambda client: client.get("coap://10.1.0.2/fast"),
    "port unreachable": lambda client: client.get("coap://10.1.0.1:99/fast"),
    "with a payload": lambda client: client.put("coap://server/slow", "on"),
    "challenged": lambda client: client.get("coap://10.1.0.1/echo"),
    "challenged upload": lambda client: client.put("coap://10.1.0.1/echo", bytes(40), block_size=16),
    "challenged registration": lambda client: watch(client, "coap://10.1.0.1/echo"),
    "state in blocks": lambda client: watch(client, "coap://10.1.0.1/watched"),
    "state in blocks, by name": lambda client: watch(client, "coap://both/watched", block_size=16),
    "held back": ask_again_although_it_is_busy,
    "discovery": lambda client: client.discover("coap://10.1.0.1", rt="temperature*"),
    "told": lambda client: client.tell(Code.PUT, "coap://server/told", "on"),
    "told, and challenged": lambda client: client.tell(Code.PUT, "coap://10.1.0.1/echo", "on"),
    "told, Non-confirmable": lambda client: client.tell(Code.PUT, "coap://10.1.0.2/told", "on", confirmable=False),
    "ping": lambda client: client.ping("coap://10.1.0.1"),
    "ping by name": lambda client: client.ping("coap://both"),
    "ping of nobody": lambda client: client.ping("coap://10.1.0.2"),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_cancelled_at_any_await_leaves_nothing_behind(
    stage: Stage, autojump_clock: MockClock, name: str
) -> None:
    client = stage.client

    async def check() -> None:
        assert_nothing_is_left(client.endpoint)
        # The NSTART slots are free: the next requests go out at once.
        for host in ("10.1.0.1", "10.1.0.2", "10.1.0.3", "[2001:db8::1]"):
            async with client.request(Code.GET, f"coap://{host}/check") as handle:
                assert handle.transmissions == 1
        assert_nothing_is_left(client.endpoint)

    async def operation() -> None:
        with trio.move_on_after(300):
            await REQUESTS[name](client)

    assert await cancel_at_every_await(operation, check) >= 1


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_waits_for_its_turn_can_be_cancelled_at_any_await(
    stage: Stage, autojump_clock: MockClock, name: str
) -> None:
    client = stage.client

    async def operation() -> None:
        with trio.move_on_after(20):
            await REQUESTS[name](client)

    async def check() -> None:
        assert client.endpoint.statistics().tokens == 3
        assert client.endpoint.statistics().pending == 0

    async with (
        outstanding_request(client, "coap://10.1.0.1/unheard"),
        outstanding_request(client, "coap://10.1.0.2/unheard"),
        outstanding_request(client, "coap://10.1.0.3/unheard"),
    ):
        await cancel_at_every_await(operation, check)
    assert_nothing_is_left(client.endpoint)


async def test_resolving_a_name_can_be_cancelled_at_any_await(stage: Stage, autojump_clock: MockClock) -> None:
    found: list[tuple[Endpoint, ...]] = []

    async def operation() -> None:
        found.append(await Endpoint.resolve("both"))

    async def check() -> None:
        assert_nothing_is_left(stage.client.endpoint)

    assert await cancel_at_every_await(operation, check) >= 1
    assert [endpoint.hostinfo for endpoint in found[-1]] == ["[2001:db8::1]", "10.1.0.3"]


async def test_a_client_with_a_socket_can_be_cancelled_at_any_await(autojump_clock: MockClock) -> None:
    endpoints = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"coap://127.0.0.1:{silent.getsockname()[1]}/never"

        async def operation() -> None:
            async with open_client() as client:
                endpoints.append(client.endpoint)
                with trio.move_on_after(10):
                    await client.get(uri)
                await trio.lowlevel.checkpoint()

        async def check() -> None:
            for endpoint in endpoints:
                assert endpoint.is_closed
                assert_nothing_is_left(endpoint)
            gc.collect()  # A socket left open is a ResourceWarning, and those are errors.

        assert await cancel_at_every_await(operation, check) >= 2


async def test_the_cancelled_request_is_not_sent_again(stage: Stage, autojump_clock: MockClock) -> None:
    client, trace = stage.client, stage.network.trace
    with trio.move_on_after(1):
        await client.get("coap://10.1.0.2/never")
    await trio.sleep(300)
    assert len(trace.select(destination="silent")) == 1


async def test_a_request_that_never_went_out_is_never_sent(stage: Stage, autojump_clock: MockClock) -> None:
    client, trace = stage.client, stage.network.trace
    async with client.request(Code.GET, "coap://10.1.0.2/first"):
        with trio.move_on_after(1):
            await client.get("coap://10.1.0.2/second")
    await trio.sleep(300)
    assert [record.message.options.uri_path for record in trace.select(destination="silent") if record.message] == [
        ("first",)
    ]


async def test_after_a_cancelled_request_the_next_one_goes_out_at_once(stage: Stage, autojump_clock: MockClock) -> None:
    client, trace = stage.client, stage.network.trace
    async with trio.open_nursery() as nursery:

        async def ask_in_vain() -> None:
            with trio.move_on_after(1):
                await client.get("coap://10.1.0.2/first")

        nursery.start_soon(ask_in_vain)
        await wait_all_tasks_blocked()
        async with client.request(Code.GET, "coap://10.1.0.2/second") as handle:
            assert handle.transmissions == 0  # NSTART is 1.
            started_at = trio.current_time()
            await trio.sleep(1.5)
            assert handle.transmissions == 1
    second = [r for r in trace.select(destination="silent") if r.message and r.message.options.uri_path == ("second",)]
    assert [record.time - started_at for record in second] == [pytest.approx(1)]


async def test_a_late_separate_response_to_a_cancelled_request_is_reset(
    stage: Stage, autojump_clock: MockClock
) -> None:
    client, trace = stage.client, stage.network.trace
    with trio.move_on_after(1):
        await client.get("coap://10.1.0.1/slow")
    await trio.sleep(10)
    (response,) = trace.select(source="server", type=CON)
    (reset,) = trace.select(destination="server", type=RST)
    assert response.message is not None
    assert reset.message is not None
    assert reset.message.message_id == response.message.message_id
    assert reset.time == response.arrives_at[0]


async def test_a_late_piggybacked_response_to_a_cancelled_request_is_ignored(
    stage: Stage, autojump_clock: MockClock
) -> None:
    client, network = stage.client, stage.network
    with trio.move_on_after(0.0005):
        await client.get("coap://10.1.0.1/fast")
    await trio.sleep(10)
    assert len(network.trace.select(destination="server")) == 1
    assert_nothing_is_left(client.endpoint)


async def test_the_message_id_of_a_cancelled_request_stays_reserved_for_its_lifetime(
    stage: Stage, autojump_clock: MockClock
) -> None:
    client = stage.client
    with trio.move_on_after(1):
        await client.get("coap://10.1.0.2/never")
    assert client.endpoint.statistics().sent == 1
    await trio.sleep(248)
    assert client.endpoint.statistics().sent == 0
    assert client.endpoint.statistics().remotes == 0


async def test_giving_up_waiting_for_the_response_does_not_end_the_request(
    stage: Stage, autojump_clock: MockClock
) -> None:
    client, network = stage.client, stage.network
    network.script([DROP], destination="server")
    async with client.request(Code.GET, "coap://10.1.0.1/fast") as handle:
        with trio.move_on_after(1) as scope:
            await handle.receive()
        assert scope.cancelled_caught
        assert (await handle.receive()).payload == b"fast"
        assert handle.transmissions == 2

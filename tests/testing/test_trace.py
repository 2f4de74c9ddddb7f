"""The trace: what is recorded, how it reads, and that it is the same every time."""

from __future__ import annotations

import functools

import pytest
import trio
import trio.testing

from trio_coap.client import open_client
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.server import serve
from trio_coap.testing import (
    CORRUPT,
    DROP,
    DUPLICATE,
    Fate,
    Trace,
    VirtualNetwork,
    format_trace,
    open_network,
    seeded_scheduling,
)
from trio_coap.testing.link import LinkProperties
from trio_coap.wire.codes import ACK, NON, Code
from trio_coap.wire.errors import MessageFormatError
from trio_coap.wire.message import Message, Request


async def test_a_record_says_what_happened(ends, coap_network, autojump_clock):
    first, second = ends
    request = Request(Code.GET, message_id=1, type=NON, token=b"t", uri_path=("x",))
    await trio.sleep(2)
    first.rawsendto(request.encode(), second.remote)
    [record] = coap_network.trace
    assert record.time == 2
    assert record.source is first.remote
    assert record.destination is second.remote
    assert record.octets == request.encode()
    assert record.fate is Fate.DELIVERED
    assert record.arrives_at == (2.001,)
    assert record.message == record.decoded == request
    assert record.arriving_octets is None
    assert str(record) == (
        "    2.000000  10.0.0.1:1000 > 10.0.0.2:2000  "
        "<Request NON 0x0001 0.01 GET token=74 Options(uri_path=('x',))>  delivered at 2.001000"
    )


async def test_a_record_of_what_is_no_message_has_the_error(ends, coap_network, autojump_clock):
    first, second = ends
    first.rawsendto(b"abc", second.remote)
    [record] = coap_network.trace
    assert record.message is None
    assert isinstance(record.decoded, MessageFormatError)
    assert "616263 (the datagram is shorter than a header" in str(record)


async def test_a_trace_reads_like_a_story(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.script([DROP, DUPLICATE, CORRUPT])
    ping = Message(message_id=1).encode()
    for _ in range(3):
        first.rawsendto(ping, second.remote)
    await trio.sleep(1)
    assert coap_network.format_trace().splitlines() == [
        "    0.000000  10.0.0.1:1000 > 10.0.0.2:2000  <Message CON 0x0001 0.00 Empty>  dropped",
        "    0.000000  10.0.0.1:1000 > 10.0.0.2:2000  <Message CON 0x0001 0.00 Empty>  delivered at 0.001000, 0.001000",
        "    0.000000  10.0.0.1:1000 > 10.0.0.2:2000  <Message CON 0x0001 0.00 Empty>  "
        "delivered at 0.001000 as bf000001",
    ]
    assert str(coap_network.trace) == coap_network.format_trace() == format_trace(coap_network.trace)


async def test_records_are_selected(ends, coap_network, autojump_clock):
    first, second = ends
    trace = coap_network.trace
    coap_network.script([DROP])
    first.rawsendto(Request(Code.GET, message_id=1, type=NON, token=b"t").encode(), second.remote)
    second.rawsendto(Message(message_id=2, type=ACK).encode(), first.remote)
    first.rawsendto(b"nonsense", Endpoint(host="10.9.9.9"))
    assert trace.select() == list(trace)
    assert trace.select(source="a") == [trace[0], trace[2]]
    assert trace.select(source="10.0.0.2:2000") == trace.select(destination="10.0.0.1") == [trace[1]]
    assert trace.select(destination="10.9.9.9") == trace.select(fate=Fate.NOBODY) == [trace[2]]
    assert trace.select(fate=Fate.DROPPED) == trace.select(code=Code.GET) == trace.select(token=b"t") == [trace[0]]
    assert trace.select(type=ACK) == trace.select(message_id=2) == [trace[1]]
    assert trace.select(type=ACK, message_id=1) == []


async def test_a_trace_is_a_sequence(ends, coap_network, autojump_clock):
    first, second = ends
    trace = coap_network.trace
    for number in range(5):
        first.rawsendto(b"%d" % number, second.remote)
    assert [record.octets for record in trace[1:3]] == [b"1", b"2"]
    assert trace[-1] in trace
    assert len(trace) == trace.total == 5
    assert [record.octets for record in trace.since(3)] == [b"3", b"4"]
    assert trace.since(9) == []
    trace.clear()
    assert (len(trace), trace.total) == (0, 5)


async def test_a_trace_keeps_the_latest_records(autojump_clock):
    async with open_network(max_trace=3) as network:
        first, second = network.create_bound_endpoint("a", 1000), network.create_bound_endpoint("b", 1000)
        for number in range(5):
            first.rawsendto(b"%d" % number, second.remote)
        assert [record.octets for record in network.trace] == [b"2", b"3", b"4"]
        assert network.trace.total == 5
        second.close()
        await trio.sleep(1)  # The fates of those that are gone are changed in vain.
        assert [record.fate for record in network.trace] == [Fate.PORT_UNREACHABLE] * 3
        first.close()


def test_a_trace_may_keep_nothing():
    assert len(Trace(0)) == 0


# The same every time.

UNRELIABLE: LinkProperties = {"latency": 0.05, "jitter": 0.1, "loss": 0.2, "duplication": 0.1, "reordering": 0.1}


def answer_at_once(request):
    return request.payload


async def answer_later(request):
    await trio.sleep(len(request.payload) / 10)  # Some answers come piggybacked, some on their own.
    return request.payload


async def ask(client, text):
    for number in range(1, 4):
        await client.post("/x", text * number)


async def run_many_clients(seed, handler=answer_at_once):
    """One server, and ten clients on hosts of their own, all at the same time."""
    async with VirtualNetwork(seed, **UNRELIABLE) as network, network.open_endpoint("server", 5683) as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(serve, handler, endpoint=server))
            async with trio.open_nursery() as clients:
                for number in range(10):
                    clients.start_soon(run_client, network, f"client{number}", f"10.0.1.{number}")
            nursery.cancel_scope.cancel()
        return network.format_trace()


async def run_client(network, name, address):
    host = network.host(address, name=name)
    async with (
        network.open_endpoint(host) as endpoint,
        open_client(endpoint=endpoint, base_uri="coap://10.0.0.1") as client,
    ):
        await ask(client, b"x")


async def run_many_tasks(seed):
    """One server, and ten tasks that share one client, all at the same time."""
    async with VirtualNetwork(seed, **UNRELIABLE) as network, network.open_endpoint("server", 5683) as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(serve, answer_later, endpoint=server))
            async with (
                network.open_endpoint("client") as endpoint,
                open_client(endpoint=endpoint, base_uri=server.uri) as client,
                trio.open_nursery() as tasks,
            ):
                for letter in "abcdefghij":
                    tasks.start_soon(ask, client, letter.encode())
            nursery.cancel_scope.cancel()
        return network.format_trace()


def run(function, *arguments):
    return trio.run(function, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_same_seed_gives_the_same_trace():
    first = run(run_many_clients, 1)
    assert len(first.splitlines()) > 60
    assert "lost" in first
    assert [run(run_many_clients, 1) == first for _ in range(5)] == [True] * 5


def test_another_seed_gives_another_trace():
    assert len({run(run_many_clients, seed) for seed in (1, 2, "a", "b")}) == 4


@pytest.mark.parametrize("arguments", [(run_many_tasks, 1), (run_many_clients, 1, answer_later)])
def test_with_seeded_scheduling_tasks_that_share_an_endpoint_give_the_same_trace(arguments):
    def once():
        with seeded_scheduling(7):
            return run(*arguments)

    first = once()
    assert "lost" in first
    assert [once() == first for _ in range(5)] == [True] * 5


def test_seeded_scheduling_works_inside_a_run():
    async def main(seed):
        order = []

        async def append(number):
            order.append(number)

        with seeded_scheduling(seed):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(append, number)
        return tuple(order)

    assert len({trio.run(main, 3) for _ in range(5)}) == 1
    assert len({trio.run(main, seed) for seed in range(5)}) > 1


def test_seeded_scheduling_leaves_trio_as_it_was():
    run_module = trio._core._run
    before = run_module._r.getstate(), run_module._ALLOW_DETERMINISTIC_SCHEDULING
    with pytest.raises(ZeroDivisionError), seeded_scheduling():
        _ = 1 / 0
    assert (run_module._r.getstate(), run_module._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_seeded_scheduling_says_so_where_trio_cannot(monkeypatch):
    monkeypatch.delattr(trio._core._run, "_r")
    with pytest.raises(RuntimeError, match="this version of Trio"), seeded_scheduling():
        pass

"""Scripts, filters and partitions."""

from __future__ import annotations

import pytest

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.testing import (
    CORRUPT,
    DELIVER,
    DROP,
    DUPLICATE,
    Action,
    Fate,
    Link,
    change,
    corrupt,
    delay,
)
from trio_coap.wire.codes import NON, Code
from trio_coap.wire.errors import LocalProtocolError, MessageFormatError
from trio_coap.wire.message import Message, Request


def test_an_impossible_action_is_refused():
    with pytest.raises(LocalProtocolError):
        Action(copies=-1)
    with pytest.raises(LocalProtocolError):
        delay(-1)


async def test_a_script_decides_datagram_by_datagram(ends, collect, coap_network, autojump_clock):
    first, second = ends
    script = coap_network.script([DROP, DUPLICATE, delay(0.5), CORRUPT, DELIVER])
    for letter in (b"a", b"b", b"c", b"d", b"e", b"f"):
        first.rawsendto(letter, second.remote)
    found = await collect(second, 1)
    assert found == [(0.001, b"b"), (0.001, b"b"), (0.001, b"\x9b"), (0.001, b"e"), (0.001, b"f"), (0.501, b"c")]
    assert script.is_over
    assert coap_network.trace[0].fate is Fate.DROPPED
    assert coap_network.trace[3].arriving_octets == b"\x9b"


async def test_a_script_may_give_numbers(ends, collect, coap_network, autojump_clock):
    first, second = ends
    script = coap_network.script({2: DROP, 4: DROP})
    for number in range(1, 6):
        first.rawsendto(b"%d" % number, second.remote)
    assert [data for _, data in await collect(second, 1)] == [b"1", b"3", b"5"]
    assert script.seen == 5


@pytest.mark.parametrize("kind", ["host", "name", "address", "port", "endpoint", "virtual endpoint"])
async def test_a_script_may_be_about_one_flow(ends, coap_network, kind, autojump_clock):
    first, second = ends
    source = {
        "host": first.owner,
        "name": "a",
        "address": "10.0.0.1",
        "port": "10.0.0.1:1000",
        "endpoint": Endpoint(host="10.0.0.1", port=1000),
        "virtual endpoint": first,
    }[kind]
    coap_network.script([DROP], source=source, destination="b")
    coap_network.script([DROP], source=second, destination=first.remote)
    coap_network.script([DUPLICATE], source=source, destination="elsewhere")
    for sender, receiver in ((first, second), (second, first)) * 2:
        sender.rawsendto(b"x", receiver.remote)
    dropped, delivered = Fate.DROPPED, Fate.DELIVERED
    assert [record.fate for record in coap_network.trace] == [dropped, dropped, delivered, delivered]


async def test_two_scripts_count_independently(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.script([DROP])
    coap_network.script([DUPLICATE, DUPLICATE])
    for _ in range(3):
        first.rawsendto(b"x", second.remote)
    assert [len(record.arrives_at) for record in coap_network.trace] == [0, 2, 1]


@pytest.mark.coap_network(loss=1)
async def test_a_script_overrides_the_loss_of_the_link(ends, collect, coap_network, autojump_clock):
    first, second = ends
    coap_network.script([DELIVER])
    first.rawsendto(b"1", second.remote)
    first.rawsendto(b"2", second.remote)
    assert [data for _, data in await collect(second, 1)] == [b"1"]


async def test_octets_are_inverted_and_changed(ends, collect, coap_network, autojump_clock):
    first, second = ends
    ping = Message(message_id=7)
    coap_network.script([corrupt(-1), corrupt(99), change(b"other"), change(ping)])
    for _ in range(4):
        first.rawsendto(b"ab", second.remote)
    assert [data for _, data in await collect(second, 1)] == [b"a\x9d", b"ab", b"other", ping.encode()]


@pytest.mark.coap_network(mtu=4)
async def test_what_a_script_makes_larger_than_the_mtu_is_dropped(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.script([change(b"large")])
    first.rawsendto(b"ab", second.remote)
    assert coap_network.trace[0].fate is Fate.TOO_BIG


async def test_a_filter_sees_the_message(ends, collect, coap_network, autojump_clock):
    first, second = ends
    seen = []

    def drop_puts(datagram):
        seen.append(datagram)
        return DROP if datagram.message is not None and datagram.message.code is Code.PUT else None

    with coap_network.filtering(drop_puts):
        for message_id, code in enumerate((Code.GET, Code.PUT)):
            first.rawsendto(Request(code, message_id=message_id, type=NON).encode(), second.remote)
        first.rawsendto(b"nonsense", second.remote)
    first.rawsendto(Request(Code.PUT, message_id=2, type=NON).encode(), second.remote)
    found = [data for _, data in await collect(second, 1)]
    assert [data[2:4] for data in found] == [b"\x00\x00", b"ns", b"\x00\x02"]
    assert [(datagram.sender, datagram.receiver, datagram.number) for datagram in seen] == [
        ("a", "b", 1),
        ("a", "b", 2),
        ("a", "b", 3),
    ]
    assert isinstance(seen[2].decoded, MessageFormatError)


async def test_a_script_comes_before_a_filter_and_the_first_filter_counts(ends, coap_network, autojump_clock):
    first, second = ends
    coap_network.script([DUPLICATE])
    coap_network.add_filter(lambda datagram: DROP)
    coap_network.add_filter(lambda datagram: DUPLICATE)
    for _ in range(2):
        first.rawsendto(b"x", second.remote)
    assert [len(record.arrives_at) for record in coap_network.trace] == [2, 0]


async def test_a_filter_is_removed(ends, coap_network, autojump_clock):
    first, second = ends

    def drop(datagram):
        return DROP

    coap_network.add_filter(drop)
    coap_network.remove_filter(drop)
    first.rawsendto(b"x", second.remote)
    assert coap_network.trace[0].fate is Fate.DELIVERED


async def test_nothing_passes_a_partition_until_it_is_healed(ends, collect, coap_network, autojump_clock):
    first, second = ends
    coap_network.partition({"a"}, {"b"})
    coap_network.script([DELIVER])
    first.rawsendto(b"1", second.remote)
    second.rawsendto(b"2", first.remote)
    coap_network.heal()
    first.rawsendto(b"3", second.remote)
    assert [data for _, data in await collect(second, 1)] == [b"3"]
    assert [record.fate for record in coap_network.trace] == [Fate.PARTITIONED, Fate.PARTITIONED, Fate.DELIVERED]


async def test_what_is_on_its_way_passes_a_partition(ends, collect, coap_network, autojump_clock):
    first, second = ends
    first.rawsendto(b"1", second.remote)
    coap_network.partition("a", "b")
    assert [data for _, data in await collect(second, 1)] == [b"1"]


@pytest.mark.parametrize(
    ("groups", "apart"),
    [
        ((["a"],), {"ab", "ac", "ad"}),
        ((["a", "b"],), {"ac", "ad", "bc", "bd"}),
        ((["a"], ["b"]), {"ab"}),
        ((["a", "b"], ["c"]), {"ac", "bc"}),
        ((["a"], ["b"], ["c"]), {"ab", "ac", "bc"}),
        (("a", "b"), {"ab"}),
    ],
)
async def test_a_partition_separates_groups(coap_network, groups, apart, autojump_clock):
    hosts = {name: coap_network.create_bound_endpoint(name, 1000) for name in "abcd"}
    coap_network.partition(*groups)
    for sender in hosts.values():
        for receiver in hosts.values():
            sender.rawsendto(b"x", receiver.remote)
    separated = {
        "".join(sorted(record.datagram.sender + record.datagram.receiver))
        for record in coap_network.trace.select(fate=Fate.PARTITIONED)
    }
    assert separated == apart
    for endpoint in hosts.values():
        endpoint.close()


async def test_a_partition_needs_hosts(coap_network, autojump_clock):
    with pytest.raises(LocalProtocolError, match="at least one"):
        coap_network.partition()
    with pytest.raises(LocalProtocolError, match="no host 'nobody'"):
        coap_network.partition({"nobody"})


async def test_a_scripted_datagram_still_takes_the_latency(ends, collect, coap_network, autojump_clock):
    first, second = ends
    coap_network.link = Link(latency=1, jitter=5, loss=0.5)
    coap_network.script([DELIVER, delay(1)])
    first.rawsendto(b"1", second.remote)
    first.rawsendto(b"2", second.remote)
    assert await collect(second, 10) == [(1, b"1"), (2, b"2")]

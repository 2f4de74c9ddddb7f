"""Echo values, and handlers that run for fresh requests only (RFC 9175 section 2)."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from tests.server.stage import make_request, open_stage
from trio_coap import (
    ACK,
    Block,
    Code,
    EchoPolicy,
    Endpoint,
    LocalProtocolError,
    Request,
    Response,
    Site,
    fresh,
    require_fresh,
)
from trio_coap.server.echo import EchoValues
from trio_coap.testing import VirtualNetwork, open_pair

HERE = Endpoint(("192.0.2.1", 5683))


@pytest.fixture
def values() -> EchoValues:
    return EchoValues(random.Random(1))


# Values.


@pytest.mark.parametrize("made_at", [0.0, 0.01, 1000.99, 1e8])
def test_a_value_tells_its_age(made_at: float, values: EchoValues) -> None:
    value = values.make(HERE, made_at)
    for age in (0.0, 0.5, 60.0, 1e6):
        told = values.age(value, HERE, made_at + age)
        assert told is not None
        assert age - 1e-6 <= told <= age + 1 / 16 + 1e-6


def test_a_value_is_short(values: EchoValues) -> None:
    assert len(values.make(HERE, 5.0)) == 12


@pytest.mark.parametrize(
    "other", [Endpoint(("192.0.2.2", 5683)), Endpoint(("192.0.2.1", 5684)), Endpoint(("fe80::1", 5683, 0, 2))]
)
def test_a_value_is_for_one_address(other: Endpoint, values: EchoValues) -> None:
    assert values.age(values.make(HERE, 5.0), other, 5.0) is None


def test_a_value_of_another_server_is_none_of_ours(values: EchoValues) -> None:
    assert values.age(EchoValues(random.Random(2)).make(HERE, 5.0), HERE, 5.0) is None


@pytest.mark.parametrize("octet", range(12))
def test_a_forged_value_is_none_of_ours(octet: int, values: EchoValues) -> None:
    forged = bytearray(values.make(HERE, 5.0))
    forged[octet] ^= 1
    assert values.age(bytes(forged), HERE, 5.0) is None


@pytest.mark.parametrize("length", [1, 4, 11, 13, 40])
def test_a_value_of_another_length_is_none_of_ours(length: int, values: EchoValues) -> None:
    assert values.age((values.make(HERE, 5.0) + bytes(40))[:length], HERE, 5.0) is None


def test_a_value_from_the_future_is_not_fresh(values: EchoValues) -> None:
    age = values.age(values.make(HERE, 50.0), HERE, 5.0)
    assert age is not None
    assert age > 1e6


@pytest.mark.parametrize(
    "arguments", [{"amplification_factor": 0.5}, {"value_lifetime": 0}, {"verified_lifetime": -1}, {"max_verified": 0}]
)
def test_a_policy_out_of_range_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError, match=next(iter(arguments))):
        EchoPolicy(**arguments)  # type: ignore[arg-type]


# Freshness on demand.


class Lock:
    """A handler that unlocks for fresh requests."""

    def __init__(self) -> None:
        self.unlocked = 0
        self.bodies: list[bytes] = []

    def __call__(self, request: Request) -> str:
        require_fresh(request, within=5)
        self.unlocked += 1
        self.bodies.append(request.payload)
        return "unlocked"

    async def later(self, request: Request) -> str:
        await trio.sleep(0.05)
        return self(request)


@pytest.fixture
def lock() -> Lock:
    return Lock()


def put(message_id: int, echo: bytes | None = None, path: str = "lock") -> Request:
    return make_request(path, code=Code.PUT, message_id=message_id, echo=echo)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_request_that_is_not_shown_fresh_is_challenged(
    is_async: bool, lock: Lock, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(lock.later if is_async else lock, coap_network) as stage:
        challenge = await stage.ask(put(1))
        assert (challenge.code, challenge.payload) == (Code.UNAUTHORIZED, b"")
        assert challenge.options.echo
        assert lock.unlocked == 0
        assert (await stage.ask(put(2, challenge.options.echo))).text == "unlocked"
        assert lock.unlocked == 1
        assert stage.server.statistics().challenges == 1


async def test_our_client_shows_that_its_request_is_fresh(lock: Lock, autojump_clock: MockClock) -> None:
    async with open_pair(lock) as (client, server):
        assert (await client.put("/lock")).text == "unlocked"
        assert (lock.unlocked, server.statistics().challenges) == (1, 1)


async def test_a_value_can_be_used_until_it_is_too_old(
    lock: Lock, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(lock, coap_network) as stage:
        echo = (await stage.ask(put(0))).options.echo
        codes = []
        for number in range(1, 5):
            codes.append((await stage.ask(put(number, echo))).code)
            await trio.sleep(2)
        assert codes == [Code.CHANGED, Code.CHANGED, Code.CHANGED, Code.UNAUTHORIZED]


async def test_a_value_that_we_did_not_make_shows_nothing(
    lock: Lock, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(lock, coap_network) as stage:
        for number, echo in enumerate((b"x", bytes(12), bytes(40))):
            assert (await stage.ask(put(number, echo))).code is Code.UNAUTHORIZED
        assert lock.unlocked == 0


async def test_another_client_cannot_use_the_value(
    lock: Lock, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(lock, coap_network) as stage:
        echo = (await stage.ask(put(1))).options.echo
        other = coap_network.create_bound_endpoint("other")
        other.rawsendto(put(2, echo).encode(), stage.endpoint.remote)
        octets, _ = await other.rawrecvfrom(1000)
        assert octets[1] == Code.UNAUTHORIZED
        other.close()


async def test_the_decorator_on_a_resource_of_a_site(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()

    @site.put("/door/{number}")
    @fresh(within=5)
    async def unlock(request: Request, number: str) -> str:
        await trio.sleep(1)
        return f"door {number}"

    async with open_stage(site, coap_network) as stage:
        challenge = await stage.ask(put(1, path="door/7"))
        assert challenge.code is Code.UNAUTHORIZED
        assert (await stage.ask(put(2, challenge.options.echo, "door/7"))).text == "door 7"


def put_block(number: int, more: bool, payload: bytes, echo: bytes | None, message_id: int) -> Request:
    block = Block(number, more, 0)
    return make_request(code=Code.PUT, block1=block, payload=payload, echo=echo, message_id=message_id)


@pytest.mark.parametrize("bearer", ["the last block alone", "the last block", "the first block", "all blocks"])
async def test_a_body_in_blocks_is_shown_fresh_by_one_block(
    bearer: str, lock: Lock, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    a, b = b"a" * 16, b"b" * 16
    async with open_stage(lock, coap_network) as stage:
        assert (await stage.ask(put_block(0, True, a, None, 1))).code is Code.CONTINUE
        challenge = await stage.ask(put_block(1, False, b, None, 2))
        echo = challenge.options.echo
        assert (challenge.code, challenge.type) == (Code.UNAUTHORIZED, ACK)
        if bearer != "the last block alone":
            first = echo if bearer in ("the first block", "all blocks") else None
            assert (await stage.ask(put_block(0, True, a, first, 3))).code is Code.CONTINUE
        last = None if bearer == "the first block" else echo
        assert (await stage.ask(put_block(1, False, b, last, 4))).code is Code.CHANGED
        assert lock.bodies == [a + b]
        # The answer to the last block is given once more, and nothing happens twice.
        assert (await stage.ask(put_block(1, False, b, last, 5))).code is Code.CHANGED
        assert lock.unlocked == 1
        assert stage.server.blockwise.assembler.octets == 0


def test_a_request_that_no_server_has_received_cannot_be_judged() -> None:
    with pytest.raises(LocalProtocolError, match="no server"):
        require_fresh(Request(Code.GET))


async def test_a_challenge_is_piggybacked_and_repeated_to_a_duplicate(
    lock: Lock, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(lock, coap_network) as stage:
        answers: list[Response] = [await stage.ask(make_request(code=Code.PUT)) for _ in range(2)]
        assert answers[0] == answers[1]
        assert stage.server.statistics().challenges == 1

"""TD_COAP_OBS of the ETSI plugtests: observation (:rfc:`7641`)."""

from __future__ import annotations

import pytest
import trio

from tests.plugtest.conftest import HASTY, PERIOD
from tests.plugtest.rawclient import (
    ACK,
    BLOCK2,
    CON,
    CONTENT_FORMAT,
    DELETE,
    ETAG,
    GET,
    MAX_AGE,
    NON,
    OBSERVE,
    POST,
    PUT,
    Block,
    Message,
    RawClient,
    open_raw_client,
)
from trio_coap.cli.plugtest import Plugtest
from trio_coap.testing import open_relay

REGISTER = (OBSERVE, 0)
DEREGISTER = (OBSERVE, 1)
TEXT = (CONTENT_FORMAT, 0)

A_WHILE = 2.5 * PERIOD
"""Seconds in which two notifications would come."""


def is_newer(message: Message, before: Message) -> bool:
    """Whether the Observe number has risen (:rfc:`7641` section 3.4)."""
    first, second = before.number(OBSERVE), message.number(OBSERVE)
    assert first is not None
    assert second is not None
    return 0 < (second - first) % (1 << 24) < 1 << 23


async def register(client: RawClient, path: str = "/obs") -> tuple[bytes, Message]:
    """Register, and wait for the first notification; return the token and that."""
    response = await client.ask(GET, path, REGISTER)
    assert (response.type, response.code, response.number(CONTENT_FORMAT)) == (ACK, "2.05", 0)
    notification = await client.notification(response.token)
    assert_notification(notification, response)
    return response.token, notification


def assert_notification(message: Message, before: Message, type: int = CON) -> None:
    assert (message.type, message.code, message.token) == (type, "2.05", before.token)
    assert message.number(CONTENT_FORMAT) == before.number(CONTENT_FORMAT)
    assert is_newer(message, before)


async def assert_end(client: RawClient, token: bytes, code: str) -> None:
    """Check that the next notification ends the observation with *code*, and that no other follows."""
    last = await client.notification(token)
    assert (last.type, last.code, last.all(OBSERVE)) == (CON, code, [])
    assert await client.hears_nothing(A_WHILE)


async def test_td_coap_obs_01_confirmable_notifications(client: RawClient) -> None:
    """CON GET /obs with Observe 0; 2.05 with Observe in an ACK, then every period a CON 2.05 with the same token and
    Content-Format and a higher Observe, which we acknowledge.
    """
    previous = await client.ask(GET, "/obs", REGISTER)
    assert (previous.code, previous.number(MAX_AGE)) == ("2.05", 1)
    assert previous.number(OBSERVE) is not None
    payloads = {previous.payload}
    for _ in range(3):
        notification = await client.notification(previous.token)
        assert_notification(notification, previous)
        previous = notification
        payloads.add(notification.payload)
    assert len(payloads) == 4


@pytest.mark.slow
async def test_td_coap_obs_02_non_confirmable_notifications(client: RawClient) -> None:
    """NON GET /obs-non with Observe 0; a NON 2.05 with Observe, then NON 2.05 with higher ones, not more often than
    :rfc:`7641` section 4.5.1 allows.
    """
    previous = await client.ask(GET, "/obs-non", REGISTER, type=NON)
    assert previous.code == "2.05"
    for _ in range(2):
        notification = await client.notification(previous.token)
        assert_notification(notification, previous, NON)
        previous = notification


async def test_td_coap_obs_04_the_server_loses_its_observers(client: RawClient, other: RawClient) -> None:
    """Register for /obs; the server loses its state (by POST /obs-reset), and there are no notifications any more.
    Registering again under the same token works, and there are some again.
    """
    token, _ = await register(client)
    assert (await other.ask(POST, "/obs-reset", TEXT, payload="sesame")).code == "2.04"
    assert await client.hears_nothing(A_WHILE)
    again = await client.ask(GET, "/obs", REGISTER, token=token)
    assert (again.code, again.number(CONTENT_FORMAT)) == ("2.05", 0)
    assert again.number(OBSERVE) is not None
    assert_notification(await client.notification(token), again)


@pytest.mark.slow
async def test_td_coap_obs_05_the_client_is_switched_off(client: RawClient, plugtest: Plugtest) -> None:
    """Register for /obs, and do not acknowledge any more.  The server repeats its notification with ever newer states and
    Observe numbers, one at a time, gives up after its last repetition, and the observation has ended.
    """
    token, previous = await register(client)
    attempts: list[Message] = []
    with trio.move_on_after(HASTY.max_transmit_wait + A_WHILE):
        while True:
            attempts.append(await client.receive(lambda message: message.token == token))
    assert len(attempts) == 1 + HASTY.max_retransmit
    states = [message for message, before in zip(attempts, [previous, *attempts], strict=False) if message != before]
    for state in states:
        assert_notification(state, previous)
        previous = state
    # The first repetition comes before the state has changed, the others do not.
    assert len(states) == HASTY.max_retransmit
    assert plugtest.observers == 0


async def test_td_coap_obs_06_the_client_resets(client: RawClient, plugtest: Plugtest) -> None:
    """Register for /obs; answer a notification with RST, as if rebooted.  No further ones come."""
    token, _ = await register(client)
    notification = await client.receive(lambda message: message.token == token)
    await client.reset(notification)
    assert await client.hears_nothing(A_WHILE)
    assert plugtest.observers == 0


async def test_td_coap_obs_07_delete_ends_observations(client: RawClient, other: RawClient) -> None:
    """Register for /obs; another client deletes it.  A CON 4.04 without Observe with the same token, and nothing more."""
    token, _ = await register(client)
    assert (await other.ask(DELETE, "/obs")).code == "2.02"
    await assert_end(client, token, "4.04")


async def test_td_coap_obs_08_another_content_format_ends_observations(client: RawClient, other: RawClient) -> None:
    """Register for /obs; another client puts JSON there.  A CON 4.06 without Observe with the same token, and nothing more."""
    token, _ = await register(client)
    assert (await other.ask(PUT, "/obs", (CONTENT_FORMAT, 50), payload='"json"')).code == "2.04"
    await assert_end(client, token, "4.06")


async def test_td_coap_obs_09_put_is_seen_by_observers(client: RawClient, other: RawClient) -> None:
    """Register for /obs; another client puts a new text there.  The next notification has it; then it goes on as before."""
    token, previous = await register(client)
    assert (await other.ask(PUT, "/obs", TEXT, payload="put by another")).code == "2.04"
    notification = await client.notification(token)
    assert_notification(notification, previous)
    assert notification.text == "put by another"
    following = await client.notification(token)
    assert_notification(following, notification)
    assert following.text != "put by another"


async def test_td_coap_obs_10_get_without_observe_ends_nothing(client: RawClient) -> None:
    """Register for /obs; GET /obs without Observe under another token: 2.05 without Observe.  Notifications go on."""
    token, previous = await register(client)
    response = await client.ask(GET, "/obs")
    assert (response.code, response.number(CONTENT_FORMAT), response.all(OBSERVE)) == ("2.05", 0, [])
    for _ in range(2):
        notification = await client.notification(token)
        assert_notification(notification, previous)
        previous = notification


async def test_td_coap_obs_11_confirmable_notifications_over_a_lossy_network(address: tuple[str, int]) -> None:
    """Register for /obs; the first notification and the ACK for the second one are lost.  The server repeats them; there is
    never more than one on its way, and the states that come are ever newer ones.
    """
    async with (
        open_relay(address, drop_back={2}, drop_forward={2}) as relay,
        open_raw_client(relay.address) as client,
    ):
        registered = await client.ask(GET, "/obs", REGISTER)
        previous, acknowledged = registered, set()
        for _ in range(5):
            notification = await client.notification(registered.token)
            if notification.message_id not in acknowledged:
                assert_notification(notification, previous)
            acknowledged.add(notification.message_id)
            previous = notification
        assert (relay.back.dropped, relay.forward.dropped) == (1, 1)


async def test_td_coap_obs_12_get_with_observe_1_ends_an_observation(client: RawClient, plugtest: Plugtest) -> None:
    """Register for /obs; GET /obs with Observe 1 under the same token: 2.05 without Observe, and nothing more."""
    token, _ = await register(client)
    response = await client.ask(GET, "/obs", DEREGISTER, token=token)
    assert (response.type, response.code, response.all(OBSERVE)) == (ACK, "2.05", [])
    assert await client.hears_nothing(A_WHILE)
    assert plugtest.observers == 0


async def test_td_coap_obs_13_a_large_resource(client: RawClient) -> None:
    """Register for /obs-large with Block2 0/0/64; response and notifications are first blocks of 64 with Observe and Block2.
    The other blocks come by GET with Block2 without Observe, under another token and the ETag of the notification.
    """
    registered = await client.ask(GET, "/obs-large", REGISTER, (BLOCK2, Block(0, False, 2).value))
    assert registered.number(OBSERVE) is not None
    assert registered.block(BLOCK2) == Block(0, True, 2)
    assert len(registered.payload) == 64
    body = None
    while body is None:
        notification = await client.notification(registered.token)
        assert_notification(notification, registered)
        assert notification.block(BLOCK2) == Block(0, True, 2)
        assert len(notification.payload) == 64
        body = await get_rest(client, notification)
    assert len(body) > 128
    assert len(set(body.splitlines())) == 1


async def get_rest(client: RawClient, notification: Message) -> bytes | None:
    """Return the whole body of a notification that has its first block of 64; None if it changes meanwhile."""
    body, number, is_more = notification.payload, 0, True
    while is_more:
        number += 1
        response = await client.ask(GET, "/obs-large", (BLOCK2, Block(number, False, 2).value))
        assert (response.code, response.all(OBSERVE)) == ("2.05", [])
        if response.octets(ETAG) != notification.octets(ETAG):
            return None
        body += response.payload
        block = response.block(BLOCK2)
        assert block is not None
        assert (block.number, block.exponent) == (number, 2)
        is_more = block.is_more
    return body

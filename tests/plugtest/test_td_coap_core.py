"""TD_COAP_CORE of the ETSI plugtests: methods, tokens, separate responses, options."""

from __future__ import annotations

import pytest

from tests.plugtest.conftest import DELAY, HASTY
from tests.plugtest.rawclient import (
    ACCEPT,
    ACK,
    CON,
    CONTENT_FORMAT,
    DELETE,
    EMPTY,
    ETAG,
    GET,
    IF_MATCH,
    IF_NONE_MATCH,
    LOCATION_PATH,
    LOCATION_QUERY,
    MAX_AGE,
    NON,
    POST,
    PUT,
    RST,
    Message,
    RawClient,
    open_raw_client,
)
from trio_coap.testing import open_relay

TEXT = (CONTENT_FORMAT, 0)


def assert_content(response: Message) -> None:
    assert response.code == "2.05"
    assert response.number(CONTENT_FORMAT) is not None
    assert response.payload


async def test_td_coap_core_01_get_confirmable(client: RawClient) -> None:
    """CON GET /test; 2.05 with the same message ID and token, a Content-Format and a payload."""
    response = await client.ask(GET, "/test")
    assert_content(response)
    assert (response.number(CONTENT_FORMAT), response.number(MAX_AGE)) == (0, 30)


async def test_td_coap_core_02_delete_confirmable(client: RawClient) -> None:
    """CON DELETE /test; 2.02 with the same message ID and token.  The resource stays."""
    assert (await client.ask(DELETE, "/test")).code == "2.02"
    assert_content(await client.ask(GET, "/test"))


async def test_td_coap_core_03_put_confirmable(client: RawClient) -> None:
    """CON PUT /test with a payload; 2.04 with the same message ID and token."""
    assert (await client.ask(PUT, "/test", TEXT, payload="core 03")).code == "2.04"


async def test_td_coap_core_04_post_confirmable(client: RawClient) -> None:
    """CON POST /test with a payload; 2.01 with the same message ID and token."""
    assert (await client.ask(POST, "/test", TEXT, payload="core 04")).code == "2.01"


async def test_td_coap_core_05_get_non_confirmable(client: RawClient) -> None:
    """NON GET /test; NON 2.05 with the same token, a Content-Format and a payload."""
    assert_content(await client.ask(GET, "/test", type=NON))


async def test_td_coap_core_06_delete_non_confirmable(client: RawClient) -> None:
    """NON DELETE /test; NON 2.02 with the same token."""
    assert (await client.ask(DELETE, "/test", type=NON)).code == "2.02"


async def test_td_coap_core_07_put_non_confirmable(client: RawClient) -> None:
    """NON PUT /test with a payload; NON 2.04 with the same token."""
    assert (await client.ask(PUT, "/test", TEXT, payload="core 07", type=NON)).code == "2.04"


async def test_td_coap_core_08_post_non_confirmable(client: RawClient) -> None:
    """NON POST /test with a payload; NON 2.01 with the same token."""
    assert (await client.ask(POST, "/test", TEXT, payload="core 08", type=NON)).code == "2.01"


async def get_separate(client: RawClient, token: bytes | None = None) -> Message:
    """Ask for /separate: an empty ACK, then a CON 2.05 of its own, which is acknowledged."""
    request = client.make(GET, "/separate", token=token)
    await client.send(request)
    acknowledgement = await client.receive()
    assert acknowledgement == Message(ACK, EMPTY, request.message_id)
    assert await client.hears_nothing(DELAY / 2)
    response = await client.receive()
    assert (response.type, response.token) == (CON, request.token)
    assert_content(response)
    await client.acknowledge(response)
    return response


async def test_td_coap_core_09_get_with_a_separate_response(client: RawClient) -> None:
    """CON GET /separate; an empty ACK at once, after a while a CON 2.05 with the same token, which we acknowledge."""
    await get_separate(client)
    assert await client.hears_nothing(1.5 * HASTY.ack_timeout)


async def test_td_coap_core_10_get_with_a_token(client: RawClient) -> None:
    """CON GET /test with tokens of 1 to 8 octets; 2.05 with the same one."""
    for length in range(1, 9):
        assert_content(await client.ask(GET, "/test", token=bytes(range(length))))


async def test_td_coap_core_11_get_with_a_token_and_a_separate_response(client: RawClient) -> None:
    """CON GET /separate with a token of 8 octets; an empty ACK without it, then a CON 2.05 with it."""
    response = await get_separate(client, b"\x00\xff-token")
    assert response.token == b"\x00\xff-token"


async def test_td_coap_core_12_get_with_an_empty_token(client: RawClient) -> None:
    """CON GET /test without a token; 2.05 without one."""
    response = await client.ask(GET, "/test", token=b"")
    assert_content(response)
    assert response.token == b""


async def test_td_coap_core_13_get_with_several_uri_path_options(client: RawClient) -> None:
    """CON GET with the Uri-Path options seg1, seg2, seg3; 2.05.  So do the first one and two of them."""
    answers = set()
    for path in ("/seg1", "/seg1/seg2", "/seg1/seg2/seg3"):
        response = await client.ask(GET, path)
        assert_content(response)
        answers.add(response.payload)
    assert len(answers) == 3


async def test_td_coap_core_14_get_with_several_uri_query_options(client: RawClient) -> None:
    """CON GET /query with the Uri-Query options first=1, second=2, third=3; 2.05, and the server has understood them."""
    response = await client.ask(GET, "/query?first=1&second=2&third=3")
    assert_content(response)
    assert [part in response.text for part in ("first=1", "second=2", "third=3")] == [True] * 3


@pytest.mark.parametrize("dropped", ["request", "response"])
async def test_td_coap_core_15_get_with_a_piggybacked_response_over_a_lossy_network(
    dropped: str, address: tuple[str, int]
) -> None:
    """CON GET /test; the request, or the response, is lost.  The client repeats it: 2.05 under the same message ID."""
    drop_forward, drop_back = ({1}, set[int]()) if dropped == "request" else (set[int](), {1})
    async with (
        open_relay(address, drop_forward=drop_forward, drop_back=drop_back) as relay,
        open_raw_client(relay.address) as client,
    ):
        request = client.make(GET, "/test")
        response, attempts = await client.exchange_persistently(request)
        assert attempts == 2
        assert (response.type, response.message_id, response.token) == (ACK, request.message_id, request.token)
        assert_content(response)
        assert (relay.forward.passed, relay.back.passed) == ((1, 1) if dropped == "request" else (2, 1))


@pytest.mark.parametrize("dropped", ["request", "acknowledgement of the request", "response", "acknowledgement"])
async def test_td_coap_core_16_get_with_a_separate_response_over_a_lossy_network(
    dropped: str, address: tuple[str, int]
) -> None:
    """CON GET /separate; any one of the four datagrams is lost, and its sender repeats it until all have got through.

    Without the ACK of the request, the client repeats that and gets the ACK again; an ACK for the response that is lost makes
    the server repeat the response, with the same message ID.
    """
    drop_forward = {"request": {1}, "acknowledgement": {2}}.get(dropped, set())
    drop_back = {"acknowledgement of the request": {1}, "response": {2}}.get(dropped, set())
    async with (
        open_relay(address, drop_forward=drop_forward, drop_back=drop_back) as relay,
        open_raw_client(relay.address) as client,
    ):
        request = client.make(GET, "/separate")
        first, attempts = await client.exchange_persistently(request, patience=DELAY / 2)
        assert first == Message(ACK, EMPTY, request.message_id)
        assert attempts == (1 if dropped in ("response", "acknowledgement") else 2)
        response = await client.receive()
        assert (response.type, response.token) == (CON, request.token)
        assert_content(response)
        await client.acknowledge(response)
        if dropped == "acknowledgement":
            again = await client.receive()
            assert again == response
            await client.acknowledge(again)
        assert await client.hears_nothing(3 * HASTY.ack_timeout)


async def test_td_coap_core_17_get_with_a_separate_response_non_confirmable(client: RawClient) -> None:
    """NON GET /separate; no ACK, and after a while one NON 2.05 with the same token."""
    request = client.make(GET, "/separate", type=NON)
    await client.send(request)
    assert await client.hears_nothing(DELAY / 2)
    response = await client.receive()
    assert (response.type, response.token) == (NON, request.token)
    assert_content(response)
    assert await client.hears_nothing(DELAY)


async def test_td_coap_core_18_post_answered_with_several_location_path_options(client: RawClient) -> None:
    """CON POST /test; 2.01 with the Location-Path options location1, location2, location3."""
    response = await client.ask(POST, "/test", TEXT, payload="core 18")
    assert response.code == "2.01"
    assert response.all(LOCATION_PATH) == [b"location1", b"location2", b"location3"]


async def test_td_coap_core_19_post_answered_with_several_location_query_options(client: RawClient) -> None:
    """CON POST /location-query; 2.01 with the Location-Query options first=1, second=2."""
    response = await client.ask(POST, "/location-query", TEXT, payload="core 19")
    assert response.code == "2.01"
    assert response.all(LOCATION_QUERY) == [b"first=1", b"second=2"]


async def test_td_coap_core_20_get_with_accept(client: RawClient) -> None:
    """CON GET /multi-format with Accept 0 and 41; 2.05 in that format.  Without Accept it is text, with another 4.06."""
    bodies = set()
    for content_format in (0, 41):
        response = await client.ask(GET, "/multi-format", (ACCEPT, content_format))
        assert_content(response)
        assert response.number(CONTENT_FORMAT) == content_format
        bodies.add(response.payload)
    assert len(bodies) == 2
    assert (await client.ask(GET, "/multi-format")).number(CONTENT_FORMAT) == 0
    assert (await client.ask(GET, "/multi-format", (ACCEPT, 110))).code == "4.06"


async def test_td_coap_core_21_get_with_etag(client: RawClient, other: RawClient) -> None:
    """CON GET /validate; 2.05 with an ETag.  With that ETag: 2.03, the ETag and no payload.  Another client changes it;
    with the first ETag: 2.05 with another ETag and another payload.
    """
    first = await client.ask(GET, "/validate")
    assert_content(first)
    etag = first.octets(ETAG)
    assert etag
    valid = await client.ask(GET, "/validate", (ETAG, etag))
    assert (valid.code, valid.octets(ETAG), valid.payload) == ("2.03", etag, b"")
    assert (await other.ask(PUT, "/validate", TEXT, payload="changed for core 21")).code == "2.04"
    changed = await client.ask(GET, "/validate", (ETAG, etag))
    assert_content(changed)
    assert changed.octets(ETAG) not in (None, etag)
    assert changed.text == "changed for core 21"


async def test_td_coap_core_22_put_with_if_match(client: RawClient, other: RawClient) -> None:
    """GET /validate for its ETag; PUT with If-Match of that: 2.04.  GET for the new ETag; another client changes it by PUT:
    2.04.  PUT with If-Match of the ETag that is old by now: 4.12, and nothing is stored.
    """
    etag1 = (await client.ask(GET, "/validate")).octets(ETAG)
    assert etag1
    assert (await client.ask(PUT, "/validate", (IF_MATCH, etag1), TEXT, payload="atomic")).code == "2.04"
    second = await client.ask(GET, "/validate")
    etag2 = second.octets(ETAG)
    assert etag2 not in (None, etag1)
    assert second.text == "atomic"
    assert (await other.ask(PUT, "/validate", TEXT, payload="meanwhile")).code == "2.04"
    assert (await client.ask(PUT, "/validate", (IF_MATCH, etag2 or b""), TEXT, payload="late")).code == "4.12"
    assert (await client.ask(GET, "/validate")).text == "meanwhile"


async def test_td_coap_core_23_put_with_if_none_match(client: RawClient) -> None:
    """PUT /create1, which is not there, with If-None-Match: 2.01.  Once more: 4.12, and the first one stays."""
    assert (await client.ask(PUT, "/create1", (IF_NONE_MATCH, b""), TEXT, payload="first")).code == "2.01"
    assert (await client.ask(PUT, "/create1", (IF_NONE_MATCH, b""), TEXT, payload="second")).code == "4.12"
    assert (await client.ask(GET, "/create1")).text == "first"


async def test_td_coap_core_31_ping(client: RawClient) -> None:
    """An empty CON, four octets; an RST with the same message ID, four octets."""
    await client.send(Message(CON, EMPTY, 0x7A7A))
    assert await client.receive() == Message(RST, EMPTY, 0x7A7A)

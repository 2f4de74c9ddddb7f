"""With libcoap 4.3.1 (Debian's ``libcoap3-bin``), in both directions.

Its example server has ``/``, ``/time``, ``/async?SECONDS``, ``/example_data``, and with ``-d`` whatever is PUT.  What it
does with ``DELETE /time`` is left alone here: it acknowledges it, and no response ever follows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.interop.house import House, open_house
from tests.interop.peers import NEEDS_LIBCOAP, Peer, coap, has_ipv6, libcoap_client
from trio_coap import ACK, CON, NON, Client, Code, NotFound, Response

pytestmark = [pytest.mark.interop, NEEDS_LIBCOAP]

ON_IPV4 = pytest.mark.parametrize("libcoap", ["127.0.0.1"], indirect=True)
"""For what is slow and does not depend on the address family."""


# Our client asks.


async def test_get(libcoap: Peer, client: Client) -> None:
    response = await client.get(libcoap.uri + "/")
    assert (response.code, response.type) == (Code.CONTENT, ACK)
    assert response.text.startswith("This is a test server made with libcoap")


async def test_get_after_put(libcoap: Peer, client: Client) -> None:
    for text in ("first", "zweite Fassung: grün"):
        response = await client.put(libcoap.uri + "/example_data", text)
        # libcoap says 2.01 for the first PUT to this resource, though it was there before.
        assert response.code in (Code.CREATED, Code.CHANGED)
        assert (await client.get(libcoap.uri + "/example_data")).text == text


async def test_the_life_of_a_resource(libcoap: Peer, client: Client) -> None:
    uri = libcoap.uri + "/rooms/kitchen?floor=1"
    assert (await client.put(uri, "light")).code == Code.CREATED
    assert (await client.post(uri, "dark")).code == Code.CHANGED
    assert (await client.get(uri)).text == "dark"
    assert (await client.delete(uri)).code == Code.DELETED
    assert (await client.get(uri)).code == Code.NOT_FOUND


async def test_not_found(libcoap: Peer, client: Client) -> None:
    response = await client.get(libcoap.uri + "/nowhere")
    assert (response.code, response.text) == (Code.NOT_FOUND, "Not Found")
    with pytest.raises(NotFound):
        response.raise_for_code()


@pytest.mark.slow
@ON_IPV4
async def test_separate_responses_and_others_meanwhile(libcoap: Peer, client: Client) -> None:
    responses: dict[str, Response] = {}

    async def get(name: str, path: str, confirmable: bool) -> None:
        responses[name] = await client.get(libcoap.uri + path, confirmable=confirmable)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, "separate", "/async?1", True)
        nursery.start_soon(get, "separate NON", "/async?1", False)
        nursery.start_soon(get, "absent", "/nowhere", True)
    assert {name: (response.type, response.text) for name, response in responses.items()} == {
        "separate": (CON, "done"),
        "separate NON": (NON, "done"),
        "absent": (ACK, "Not Found"),
    }
    assert next(iter(responses)) == "absent"
    assert client.endpoint.statistics().retransmissions == 0


async def test_non_confirmable_request(libcoap: Peer, client: Client) -> None:
    response = await client.get(libcoap.uri + "/time", confirmable=False)
    assert (response.code, response.type) == (Code.CONTENT, NON)
    assert response.options.max_age == 1


async def test_ping(libcoap: Peer, client: Client) -> None:
    assert 0 < await client.ping(libcoap.uri) < 5


async def test_command_get(libcoap: Peer) -> None:
    done = await coap("get", libcoap.uri + "/.well-known/core")
    assert (done.status, done.stderr) == (0, "")
    assert '</>;title="General Info"' in done.stdout


@ON_IPV4
async def test_command_put(libcoap: Peer) -> None:
    done = await coap("put", libcoap.uri + "/example_data", "-d", "from the command")
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    done = await coap("get", libcoap.uri + "/example_data", "-i")
    assert (done.status, done.stdout.rstrip("\n")) == (0, "from the command")
    assert "2.05 Content" in done.stderr


@ON_IPV4
async def test_command_says_what_is_not_found(libcoap: Peer) -> None:
    done = await coap("get", libcoap.uri + "/nowhere")
    assert (done.status, done.stdout) == (4, "")
    assert "4.04 Not Found" in done.stderr


@ON_IPV4
async def test_command_rejects_a_response_with_an_unknown_critical_option(libcoap: Peer) -> None:
    # libcoap copies the option that it does not know into its 4.02.  RFC 7252 section 5.4.1 has such a response
    # rejected; libcoap's own client drops it too, and waits until its -B seconds are over.
    done = await coap("get", libcoap.uri + "/", "-o", "65001=x")
    assert (done.status, done.stdout) == (4, "")
    assert "the response 4.02 Bad Option was rejected: option 65001" in done.stderr


# libcoap's client asks.


async def test_client_prints_what_it_gets(house: House) -> None:
    house.notes["a"] = Response(payload="ab")
    done = await libcoap_client(house.uri + "/note/a")
    assert (done.status, done.stdout, done.stderr) == (0, "ab\n", "")
    assert house.calls == ["GET /note/a"]


async def test_client_gets_a_piggybacked_response(house: House) -> None:
    house.notes["a"] = Response(payload="ab")
    done = await libcoap_client("-v", "7", house.uri + "/note/a")
    assert done.exchange == ["sent CON GET", "received ACK 2.05"]
    assert done.messages[1].options == "Content-Format:text/plain"
    assert done.messages[1].payload == "ab"


async def test_client_puts_gets_and_deletes(house: House) -> None:
    uri = house.uri + "/note/a"
    put = await libcoap_client("-v", "7", "-m", "put", "-t", "50", "-e", '{"celsius":21}', uri)
    assert put.exchange == ["sent CON PUT", "received ACK 2.04"]
    assert house.requests[0].payload == b'{"celsius":21}'
    assert house.requests[0].options.content_format == 50
    got = await libcoap_client("-v", "7", uri)
    assert got.messages[1].options == "Content-Format:application/json"
    assert got.messages[1].payload == '{"celsius":21}'
    deleted = await libcoap_client("-v", "7", "-m", "delete", uri)
    assert deleted.exchange == ["sent CON DELETE", "received ACK 2.02"]
    gone = await libcoap_client(uri)
    assert gone.stderr == "4.04 there is no note a\n"
    assert house.calls == ["PUT /note/a", "GET /note/a", "DELETE /note/a", "GET /note/a"]


async def test_client_puts_octets(house: House, tmp_path: Path) -> None:
    octets = bytes(range(256)) * 3
    (tmp_path / "sent").write_bytes(octets)
    await libcoap_client("-m", "put", "-t", "42", "-f", str(tmp_path / "sent"), house.uri + "/note/a")
    assert house.notes["a"].payload == octets
    await libcoap_client("-o", str(tmp_path / "received"), house.uri + "/note/a")
    assert (tmp_path / "received").read_bytes() == octets


async def test_client_posts(house: House) -> None:
    for number in (1, 2):
        done = await libcoap_client("-m", "post", "-e", "x", house.uri + "/count/a")
        assert done.stdout == f"{number}\n"


async def test_client_gets_a_separate_response(house: House) -> None:
    done = await libcoap_client("-v", "7", house.uri + "/slow")
    assert done.exchange == ["sent CON GET", "received ACK 0.00", "received CON 2.05", "sent ACK 0.00"]
    request, acknowledgement, response, answer = done.messages
    assert request.message_id == acknowledgement.message_id != response.message_id == answer.message_id
    assert response.payload == "late"


async def test_client_sends_a_non_confirmable_request(house: House) -> None:
    done = await libcoap_client("-N", "-v", "7", house.uri + "/reading")
    assert done.exchange == ["sent NON GET", "received NON 2.05"]
    assert house.requests[0].type is NON


async def test_client_gets_a_late_response_to_a_non_confirmable_request(house: House) -> None:
    done = await libcoap_client("-N", "-v", "7", house.uri + "/slow")
    assert done.exchange == ["sent NON GET", "received NON 2.05"]
    assert done.messages[1].payload == "late"


async def test_client_is_told_what_is_not_found(house: House) -> None:
    done = await libcoap_client("-v", "7", house.uri + "/nowhere")
    assert done.exchange == ["sent CON GET", "received ACK 4.04"]
    assert done.stderr == "4.04 there is nothing at /nowhere\n"


async def test_client_is_told_which_methods_there_are(house: House) -> None:
    done = await libcoap_client("-m", "post", "-e", "x", house.uri + "/note/a")
    assert done.stderr == "4.05 POST is not among GET, PUT, DELETE\n"


async def test_client_with_an_unknown_critical_option_is_told_so(house: House) -> None:
    done = await libcoap_client("-O", "65001,x", house.uri + "/reading")
    assert done.stderr == "4.02 option 65001 is unknown\n"
    assert house.calls == []


async def test_client_with_an_unknown_elective_option_is_served(house: House) -> None:
    done = await libcoap_client("-O", "65000,x", house.uri + "/reading")
    assert done.stdout == "21 °C\n"


@pytest.mark.slow
async def test_non_confirmable_request_with_an_unknown_critical_option_is_rejected(nursery: trio.Nursery) -> None:
    house = await open_house(nursery, "127.0.0.1")
    # libcoap's client takes no notice of the Reset and waits on: hence -B 1.
    done = await libcoap_client("-N", "-B", "1", "-O", "65001,x", "-v", "7", house.uri + "/reading")
    assert done.exchange == ["sent NON GET", "received RST 0.00"]
    assert house.calls == []


@pytest.mark.parametrize(
    ("accept", "options", "payload"),
    [
        ("0", "Content-Format:text/plain", "21 \\xC2\\xB0C"),
        ("50", "Content-Format:application/json", '{"celsius":21}'),
    ],
)
async def test_client_accepts_a_content_format(house: House, accept: str, options: str, payload: str) -> None:
    done = await libcoap_client("-A", accept, "-v", "7", house.uri + "/reading")
    assert (done.messages[1].options, done.messages[1].payload) == (options, payload)


async def test_client_that_accepts_another_content_format_is_told_so(house: House) -> None:
    done = await libcoap_client("-A", "60", house.uri + "/reading")
    assert done.stderr.startswith("4.06 ")


async def test_client_gets_from_a_server_that_serves_both_families(nursery: trio.Nursery) -> None:
    if not has_ipv6():
        pytest.skip("there is no ::1 here")
    house = await open_house(nursery, "::")
    for host in ("127.0.0.1", "[::1]"):
        done = await libcoap_client(house.uri.replace("[::]", host) + "/reading")
        assert done.stdout == "21 °C\n"

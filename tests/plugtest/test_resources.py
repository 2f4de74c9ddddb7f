"""What else ``plugtest.md`` says of the resources, beyond the ETSI list; by raw datagrams too."""

from __future__ import annotations

import pytest

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
    OBSERVE,
    POST,
    PUT,
    Message,
    RawClient,
)
from tests.plugtest.test_td_coap_link import discover
from trio_coap.cli.plugtest import Plugtest
from trio_coap.cli.plugtest_storage import MAX_CREATED

TEXT = (CONTENT_FORMAT, 0)
JSON = (CONTENT_FORMAT, 50)

READABLE = [
    "/test",
    "/seg1",
    "/seg1/seg2",
    "/seg1/seg2/seg3",
    "/query",
    "/separate",
    "/large",
    "/large-separate",
    "/large-update",
    "/large-create",
    "/validate",
    "/multi-format",
    "/link1",
    "/link2",
    "/link3",
    "/path",
    "/path/sub1",
    "/path/sub2",
    "/path/sub3",
    "/obs",
    "/obs-non",
    "/obs-large",
    "/.well-known/core",
]


async def get(client: RawClient, path: str, *options: tuple[int, int]) -> Message:
    """GET, and take the response as it comes, piggybacked or separate."""
    request = client.make(GET, path, *options)
    await client.send(request)
    response = await client.receive()
    if (response.type, response.code) == (ACK, EMPTY):
        response = await client.receive()
        await client.acknowledge(response)
    assert response.token == request.token
    return response


@pytest.mark.parametrize("path", READABLE)
async def test_every_representation_has_a_content_format_that_accept_can_ask_for(path: str, client: RawClient) -> None:
    response = await get(client, path)
    content_format = response.number(CONTENT_FORMAT)
    assert (response.code, content_format is None) == ("2.05", False)
    assert (await get(client, path, (ACCEPT, content_format or 0))).code == "2.05"
    assert (await get(client, path, (ACCEPT, 11542))).code == "4.06"


@pytest.mark.parametrize("path", ["/nothing", "/", "/seg1/none", "/path/sub4", "/large-create/1", "/create1", "/TEST"])
async def test_what_is_not_there_is_not_found(path: str, client: RawClient) -> None:
    assert (await client.ask(GET, path)).code == "4.04"


@pytest.mark.parametrize(
    ("code", "paths"),
    [
        (GET, "/location-query /large-post /obs-reset"),
        (POST, "/seg1 /query /separate /large /large-update /validate /create1 /multi-format /link1 /path /obs"),
        (PUT, "/seg1 /query /separate /large /large-create /large-post /multi-format /link1 /path /.well-known/core"),
        (DELETE, "/seg1 /query /separate /large /large-create /large-update /validate /link1 /path"),
    ],
)
async def test_a_method_that_a_resource_lacks_is_not_allowed(code: str, paths: str, client: RawClient) -> None:
    for path in paths.split():
        assert (await client.ask(code, path, TEXT, payload="x")).code == "4.05", path


async def test_test_exists_whatever_is_done_to_it(client: RawClient) -> None:
    assert (await client.ask(DELETE, "/test")).code == "2.02"
    assert (await client.ask(PUT, "/test", (IF_NONE_MATCH, b""), TEXT, payload="x")).code == "4.12"


async def test_any_query_is_fine(client: RawClient) -> None:
    for query in ("", "?", "?a", "?a=b&a=c&="):
        assert (await client.ask(GET, f"/query{query}")).code == "2.05"


async def test_large_is_20_lines_of_64(client: RawClient) -> None:
    response = await client.ask(GET, "/large")
    assert len(response.payload) == 1024
    assert {len(line) for line in response.payload.splitlines()} == {63}


async def test_an_update_without_content_format_is_a_bad_request(client: RawClient) -> None:
    for code, path in ((PUT, "/large-update"), (POST, "/large-create"), (POST, "/large-post"), (PUT, "/obs")):
        assert (await client.ask(code, path, payload="x")).code == "4.00", path


async def test_an_update_changes_body_format_and_etag(client: RawClient) -> None:
    before = await client.ask(GET, "/large-update")
    assert (await client.ask(PUT, "/large-update", JSON, payload="{}")).code == "2.04"
    after = await client.ask(GET, "/large-update")
    assert (after.text, after.number(CONTENT_FORMAT)) == ("{}", 50)
    assert after.octets(ETAG) not in (None, before.octets(ETAG))


async def test_what_has_no_content_format_is_octets(client: RawClient) -> None:
    assert (await client.ask(PUT, "/validate", payload=b"\xff\x00")).code == "2.04"
    response = await client.ask(GET, "/validate")
    assert (response.payload, response.number(CONTENT_FORMAT)) == (b"\xff\x00", 42)


async def test_the_life_of_a_child(client: RawClient) -> None:
    created = await client.ask(POST, "/large-create", JSON, payload="[1]")
    path = "/" + "/".join(segment.decode() for segment in created.all(LOCATION_PATH))
    assert f'<{path}>;ct="50"' in (await client.ask(GET, "/large-create")).text.replace("ct=50", 'ct="50"')
    child = await client.ask(GET, path)
    assert (child.text, child.number(CONTENT_FORMAT)) == ("[1]", 50)
    assert [(await client.ask(DELETE, path)).code for _ in range(2)] == ["2.02", "4.04"]
    assert (await client.ask(GET, path)).code == "4.04"
    assert path not in (await client.ask(GET, "/large-create")).text


async def test_children_are_bounded(client: RawClient) -> None:
    paths = []
    for number in range(MAX_CREATED + 1):
        created = await client.ask(POST, "/large-create", TEXT, payload=f"child {number}")
        paths.append("/".join(segment.decode() for segment in created.all(LOCATION_PATH)))
    assert len(set(paths)) == MAX_CREATED + 1
    assert [(await client.ask(GET, path)).code for path in paths] == ["4.04"] + ["2.05"] * MAX_CREATED


async def test_only_text_is_put_in_capitals(client: RawClient) -> None:
    response = await client.ask(POST, "/large-post", TEXT, payload="grün")
    assert (response.code, response.text, response.number(CONTENT_FORMAT)) == ("2.04", "GRÜN", 0)
    assert (await client.ask(POST, "/large-post", JSON, payload="{}")).code == "4.15"
    assert (await client.ask(POST, "/large-post", TEXT, payload=b"a\xc3")).code == "4.00"


async def test_if_match_of_what_is_there(client: RawClient) -> None:
    async def put(etag: bytes, payload: str) -> str:
        return (await client.ask(PUT, "/validate", (IF_MATCH, etag), TEXT, payload=payload)).code

    assert await put(b"", "whatever it was") == "2.04"
    assert await put(b"wrong", "refused") == "4.12"
    assert (await client.ask(GET, "/validate")).text == "whatever it was"


async def test_if_match_of_what_is_not_there(client: RawClient) -> None:
    for etag in (b"", b"any"):
        assert (await client.ask(PUT, "/create1", (IF_MATCH, etag), TEXT, payload="x")).code == "4.12"
    assert (await client.ask(GET, "/create1")).code == "4.04"


async def test_creating_and_deleting(client: RawClient) -> None:
    codes = [(await client.ask(code, "/create1", TEXT, payload="x")).code for code in (PUT, PUT)]
    codes += [(await client.ask(code, "/create1")).code for code in (GET, DELETE, DELETE, GET)]
    assert codes == ["2.01", "2.04", "2.05", "2.02", "2.02", "4.04"]


async def test_further_formats(client: RawClient) -> None:
    assert (await client.ask(GET, "/multi-format", (ACCEPT, 50))).text == '{"format":"json"}'
    assert (await client.ask(GET, "/multi-format", (ACCEPT, 60))).payload == b"\xa1\x66format\x64cbor"


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("ct=41", {"/multi-format"}),
        ("ct=40", {"/path", "/large-create"}),
        ("sz=1280", {"/large", "/large-separate"}),
        ("sz=128", set()),
        ("title=Link*", {"/link1", "/link2", "/link3"}),
        ("title=Long path", {"/seg1", "/seg1/seg2", "/seg1/seg2/seg3"}),
        ("rt=Type", set()),
        ("rt=Type*", {"/link1", "/link2", "/link3"}),
        ("href=/obs*", {"/obs", "/obs-non", "/obs-large", "/obs-reset"}),
        ("rt=Type3&if=foo", {"/link3"}),
    ],
)
async def test_each_attribute_filters(query: str, paths: set[str], client: RawClient) -> None:
    assert (await discover(client, f"?{query}")).keys() == paths


async def test_the_observable_resource_comes_back_after_delete(client: RawClient) -> None:
    assert (await client.ask(DELETE, "/obs")).code == "2.02"
    response = await client.ask(GET, "/obs", (OBSERVE, 0))
    assert (response.code, len(response.all(OBSERVE))) == ("2.05", 1)


async def test_obs_large_is_larger_than_a_block_of_64(client: RawClient) -> None:
    assert len((await client.ask(GET, "/obs-large")).payload) > 64


async def test_the_wrong_word_resets_nothing(client: RawClient, plugtest: Plugtest) -> None:
    await client.ask(GET, "/obs", (OBSERVE, 0))
    assert (await client.ask(POST, "/obs-reset", TEXT, payload="open")).code == "4.03"
    assert plugtest.observers == 1


async def test_a_duplicate_is_answered_with_the_same_octets(client: RawClient) -> None:
    request = client.make(POST, "/large-create", TEXT, payload="once")
    answers = [await client.exchange(request) for _ in range(3)]
    assert answers == [answers[0]] * 3
    assert (request.type, answers[0].code) == (CON, "2.01")

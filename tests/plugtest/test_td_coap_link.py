"""TD_COAP_LINK of the ETSI plugtests: discovery (:rfc:`6690`)."""

from __future__ import annotations

from tests.plugtest.rawclient import BLOCK2, CONTENT_FORMAT, GET, Block, RawClient, parse_links

LINK_FORMAT = 40

Links = dict[str, dict[str, str]]


async def get_links(client: RawClient, path: str) -> Links:
    """GET *path*, block after block, and return its links."""
    text, number, is_more = "", 0, True
    while is_more:
        options = ((BLOCK2, Block(number, False, 6).value),) if number else ()
        response = await client.ask(GET, path, *options)
        assert (response.code, response.number(CONTENT_FORMAT)) == ("2.05", LINK_FORMAT)
        text += response.text
        block = response.block(BLOCK2)
        number, is_more = number + 1, block is not None and block.is_more
    return parse_links(text)


async def discover(client: RawClient, query: str = "") -> Links:
    return await get_links(client, f"/.well-known/core{query}")


async def test_td_coap_link_01_the_well_known_interface(client: RawClient) -> None:
    """GET /.well-known/core; 2.05 in link-format with the links to what the server offers."""
    links = await discover(client)
    expected = "/test /seg1 /seg1/seg2 /seg1/seg2/seg3 /query /separate /large /large-update /large-create /large-post"
    expected += " /validate /create1 /location-query /multi-format /link1 /link2 /link3 /path /obs /obs-non /obs-large"
    assert set(expected.split()) <= links.keys()
    assert {path for path, attributes in links.items() if "obs" in attributes} == {"/obs", "/obs-non", "/obs-large"}


async def test_td_coap_link_02_filter_by_rt(client: RawClient) -> None:
    """GET /.well-known/core?rt=Type1; only the links of that type, all of them."""
    assert (await discover(client, "?rt=Type1")).keys() == {"/link1", "/link3"}


async def test_td_coap_link_03_filter_by_an_empty_prefix(client: RawClient) -> None:
    """GET /.well-known/core?rt=*; only the links that have an rt, all of them."""
    everything = await discover(client)
    with_type = {path for path, attributes in everything.items() if "rt" in attributes}
    assert {"/link1", "/link2", "/link3"} <= with_type
    assert with_type < everything.keys()
    assert (await discover(client, "?rt=*")).keys() == with_type


async def test_td_coap_link_04_filter_by_one_of_several_rt_values(client: RawClient) -> None:
    """GET /.well-known/core?rt=Type2; the links with "Type1 Type2" and "Type2 Type3", and no other."""
    links = await discover(client, "?rt=Type2")
    assert {path: attributes["rt"] for path, attributes in links.items()} == {
        "/link1": "Type1 Type2",
        "/link2": "Type2 Type3",
    }


async def test_td_coap_link_05_filter_by_if_and_a_prefix(client: RawClient) -> None:
    """GET /.well-known/core?if=If*; the links with If1 and If2, not that with foo, nor those without."""
    links = await discover(client, "?if=If*")
    assert {path: attributes["if"] for path, attributes in links.items()} == {"/link1": "If1", "/link2": "If2"}


async def test_td_coap_link_06_filter_by_sz_and_a_prefix(client: RawClient) -> None:
    """GET /.well-known/core?sz=*; only the links that have an sz, all of them."""
    with_size = {path for path, attributes in (await discover(client)).items() if "sz" in attributes}
    assert "/large" in with_size
    links = await discover(client, "?sz=*")
    assert links.keys() == with_size
    assert links["/large"]["sz"] == "1280"


async def test_td_coap_link_07_filter_by_href_complete(client: RawClient) -> None:
    """GET /.well-known/core?href=/link1; only that link."""
    assert (await discover(client, "?href=/link1")) == {
        "/link1": {"rt": "Type1 Type2", "if": "If1", "title": "Link test resource"}
        | {name: value for name, value in (await discover(client))["/link1"].items() if name == "ct"}
    }


async def test_td_coap_link_08_filter_by_href_and_a_prefix(client: RawClient) -> None:
    """GET /.well-known/core?href=/link*; /link1, /link2 and /link3."""
    assert (await discover(client, "?href=/link*")).keys() == {"/link1", "/link2", "/link3"}


async def test_td_coap_link_09_links_arranged_hierarchically(client: RawClient) -> None:
    """GET /.well-known/core; /path has ct=40.  GET /path; the links to /path/sub1 to sub3.  GET each of them; 2.05."""
    assert (await discover(client, "?href=/path"))["/path"]["ct"] == "40"
    links = await get_links(client, "/path")
    assert links.keys() == {"/path/sub1", "/path/sub2", "/path/sub3"}
    for path in links:
        response = await client.ask(GET, path)
        assert (response.code, response.number(CONTENT_FORMAT)) == ("2.05", 0)
        assert path in response.text

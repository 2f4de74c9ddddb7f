"""Discovery: what a site says at /.well-known/core (RFC 6690)."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from tests.server.stage import make_request, open_stage
from trio_coap import BadRequest, Block, Code, Endpoint, LocalProtocolError, NotFound, Request, Site
from trio_coap.testing import VirtualNetwork, open_pair
from trio_coap.wire.linkformat import Link, LinkError, parse_links

CORE = (".well-known", "core")
GROUP = Endpoint(host="ff02::fd", port=5683)


def answer(request: Request, **parameters: Any) -> str:
    return "x"


def discover(site: Site, *query: str, **options: Any) -> Any:
    return site(Request(Code.GET, uri_path=CORE, uri_query=query, **options))


def targets(site: Site, *query: str) -> list[str]:
    return [link.target for link in parse_links(discover(site, *query).payload)]


@pytest.fixture
def house() -> Site:
    site = Site()
    site.get("/temp", rt="temperature-c core.s", if_="sensor", title="Where it is warm", sz=20, observable=True)(answer)
    site.get("/light", rt=["light", "core.s"], if_=["sensor", "core.a"], produces=["text/plain", "json"])(answer)
    site.put("/door", ct=["cbor", 65001], attributes={"pr": "1", "tag": ["a", "b"], "flag": None})(answer)
    site.get("/a b/é/?")(answer)
    return site


def test_resources_are_listed_with_what_is_declared(house: Site) -> None:
    response = discover(house)
    assert (response.code, response.options.content_format) == (Code.CONTENT, 40)
    assert response.text == (
        '</temp>;rt="temperature-c core.s";if="sensor";title="Where it is warm";sz=20;obs,'
        '</light>;rt="light core.s";if="sensor core.a";ct="0 50",'
        '</door>;ct="60 65001";pr=1;tag="a";tag="b";flag,'
        "</a%20b/%C3%A9/%3F>"
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (["rt=core.s"], ["/temp", "/light"]),
        (["rt=light"], ["/light"]),
        (["rt=temp*"], ["/temp"]),
        (["if=core.a"], ["/light"]),
        (["ct=50"], ["/light"]),
        (["ct=60"], ["/door"]),
        (["sz=20"], ["/temp"]),
        (["title=Where it is warm"], ["/temp"]),
        (["title=Where*"], ["/temp"]),
        (["obs=*"], ["/temp"]),
        (["href=/l*"], ["/light"]),
        (["href=/temp"], ["/temp"]),
        (["pr=1"], ["/door"]),
        (["rt=core.s", "if=core.a"], ["/light"]),
        (["rt=nothing"], []),
        ([""], ["/temp", "/light", "/door", "/a%20b/%C3%A9/%3F"]),
    ],
)
def test_filters(house: Site, query: list[str], expected: list[str]) -> None:
    assert targets(house, *query) == expected


def test_what_is_no_filter_is_refused(house: Site) -> None:
    with pytest.raises(BadRequest, match="no '=' in the filter"):
        discover(house, "nonsense")


def test_nothing_to_list_is_an_empty_document(house: Site) -> None:
    for response in (discover(Site()), discover(house, "rt=nothing")):
        assert (response.code, response.payload, response.options.content_format) == (Code.CONTENT, b"", 40)


@pytest.mark.parametrize(("query", "is_found"), [("rt=core.s", True), ("rt=nothing", False)])
def test_a_group_is_not_told_that_there_is_nothing(house: Site, query: str, is_found: bool) -> None:
    """RFC 7252 section 8.2: a server should not respond to a multicast request if the filter does not match."""
    request = Request(Code.GET, uri_path=CORE, uri_query=[query])
    request.local_address = GROUP
    if is_found:
        assert house(request).code == Code.CONTENT  # type: ignore[union-attr]
    else:
        with pytest.raises(NotFound):
            house(request)


def test_what_is_not_to_be_listed_is_not() -> None:
    site = Site()
    site.get("/shown")(answer)
    site.get("/hidden", is_listed=False)(answer)
    site.resource("/without-methods", rt="x")
    site.get("/lamps/{number:int}", rt="light")(answer)
    site.get("/lamps/{number:int}/state")(answer)
    site.get("/files/{path:path}")(answer)
    assert targets(site) == ["/shown"]
    site.resource("/hidden", is_listed=True)
    assert targets(site) == ["/shown", "/hidden"]


def test_the_root_is_listed() -> None:
    site = Site()
    site.get("/")(answer)
    site.get("/a/")(answer)
    assert targets(site) == ["/", "/a/"]


def test_an_empty_first_segment_does_not_look_like_an_authority() -> None:
    site = Site()
    site.get("//a")(answer)
    assert targets(site) == ["/.//a"]


def test_resources_that_come_later_are_listed() -> None:
    site = Site()
    assert targets(site) == []
    site.get("/late")(answer)
    assert targets(site) == ["/late"]


def test_formats_of_all_get_handlers_are_listed_and_those_of_other_methods_not() -> None:
    site = Site()
    site.get("/r", produces="json")(answer)
    site.get("/r", produces=["cbor", "text"])(answer)
    site.post("/r", produces="application/xml", consumes="application/xml")(answer)
    assert discover(site).text == '</r>;ct="50 60 0"'
    site.resource("/r", ct="json")
    assert discover(site).text == "</r>;ct=50"


# Further links.


def test_links_are_added_when_they_are_asked_for() -> None:
    lamps = [1]
    site = Site()
    site.get("/lamps/{number:int}")(answer)
    site.get("/r")(answer)
    site.add_links(lambda: [Link(f"/lamps/{number}", {"rt": "light"}) for number in lamps])
    assert targets(site) == ["/r", "/lamps/1"]
    lamps += [2]
    assert targets(site, "rt=light") == ["/lamps/1", "/lamps/2"]


def test_links_to_elsewhere_can_be_added() -> None:
    site = Site()
    site.add_links(lambda: [Link("coap://[2001:db8::1]/x", {"rel": "alternate"})])
    assert targets(site) == ["coap://[2001:db8::1]/x"]


# Mounted sites.


def test_what_is_mounted_is_listed_below_its_path() -> None:
    site, below = Site(), Site()
    site.get("/top")(answer)
    site.mount("/rooms/a b", below)
    below.get("/", rt="room")(answer)
    below.get("/lamp", rt="light")(answer)
    below.add_links(
        lambda: [
            Link("/lamp/1"),
            Link("/", {"anchor": "/lamp"}),
            Link("coap://h/x", {"anchor": "coap://h/y"}),
            Link("//h/z"),
            Link("x"),
        ]
    )
    assert discover(site).text == (
        '</top>,</rooms/a%20b>;rt="room",</rooms/a%20b/lamp>;rt="light",'
        '</rooms/a%20b/lamp/1>,</rooms/a%20b>;anchor="/rooms/a%20b/lamp",'
        '<coap://h/x>;anchor="coap://h/y",<//h/z>,<x>'
    )
    assert targets(below)[:2] == ["/", "/lamp"]


def test_what_is_mounted_below_a_parameter_is_not_listed() -> None:
    site, below = Site(), Site()
    site.mount("/rooms/{room}/things", below)
    below.get("/lamp")(answer)
    assert targets(site) == []


def test_a_mounted_site_does_not_answer_below_its_path() -> None:
    site, below = Site(), Site()
    site.mount("/below", below)
    with pytest.raises(NotFound):
        site(Request(Code.GET, uri_path=("below", *CORE)))


# Who answers.


def test_the_application_can_answer_itself() -> None:
    site = Site()
    site.get("/.well-known/core", rt="own")(lambda request: "own")
    site.get("/r")(answer)
    assert discover(site) == "own"
    above = Site()
    above.mount("/below", site)
    assert targets(above) == ["/below/r"]


def test_a_template_does_not_take_its_place() -> None:
    site = Site()
    site.get("/{path:path}")(answer)
    site.get("/{a}/{b}")(answer)
    site.get("/.well-known/{what}")(answer)
    site.get("/.well-known/core/below")(answer)
    assert targets(site) == ["/.well-known/core/below"]


def test_it_can_be_turned_off() -> None:
    site = Site(well_known=False)
    site.get("/r")(answer)
    with pytest.raises(NotFound):
        discover(site)
    site.get("/{path:path}")(lambda request, path: "rest")
    assert discover(site) == "rest"


@pytest.mark.parametrize("code", [Code.POST, Code.PUT, Code.DELETE])
async def test_it_can_only_be_read(code: Code, autojump_clock: MockClock) -> None:
    async with open_pair(Site()) as (client, _):
        assert (await client.exchange(code, "/.well-known/core")).code == Code.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(("accept", "code"), [(40, Code.CONTENT), (0, Code.NOT_ACCEPTABLE), (60, Code.NOT_ACCEPTABLE)])
async def test_there_is_link_format_and_nothing_else(accept: int, code: Code, autojump_clock: MockClock) -> None:
    async with open_pair(Site()) as (client, _):
        assert (await client.get("/.well-known/core", accept=accept)).code == code


async def test_a_list_that_has_not_changed_is_valid(house: Site, autojump_clock: MockClock) -> None:
    async with open_pair(house) as (client, _):
        etag = (await client.get("/.well-known/core")).options.etag
        assert etag is not None
        assert (await client.get("/.well-known/core", etag=etag)).code == Code.VALID
        assert (await client.get("/.well-known/core?rt=light", etag=etag)).code == Code.CONTENT
        house.get("/new")(answer)
        assert (await client.get("/.well-known/core", etag=etag)).code == Code.CONTENT


async def test_a_long_list_goes_in_blocks(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    site = Site()
    for number in range(200):
        site.get(f"/resource/{number}", rt="x")(answer)
    async with open_stage(site, coap_network) as stage:
        first = await stage.ask(make_request(".well-known/core"))
        assert (first.options.block2, first.options.content_format) == (Block(0, True, 6), 40)
    async with open_pair(site) as (client, _):
        links = parse_links((await client.get("/.well-known/core", block_size=64)).payload)
        assert len(links) == 200
        found = await client.get("/.well-known/core?href=/resource/7")
        assert found.text == '</resource/7>;rt="x"'


# Wrong declarations.


@pytest.mark.parametrize(
    ("declarations", "message"),
    [
        ({"rt": 'a"b'}, "attribute rt"),
        ({"rt": []}, "attribute rt"),
        ({"if_": ""}, "attribute if"),
        ({"sz": -1}, "attribute sz"),
        ({"ct": "nonsense"}, "unknown content format"),
        ({"attributes": {"a b": "c"}}, "attribute 'a b'"),
        ({"attributes": {"rel": ["a", "b"]}}, "has 2 values"),
    ],
)
def test_what_cannot_be_listed_is_refused_at_once(declarations: Any, message: str) -> None:
    site = Site()
    site.get("/r", rt="before")(answer)
    with pytest.raises(LocalProtocolError, match=message):
        site.resource("/r", **declarations)
    assert discover(site).text == '</r>;rt="before"'


def test_an_added_link_that_cannot_be_written_is_the_applications_mistake() -> None:
    site = Site()
    site.add_links(lambda: [Link("/a b")])
    with pytest.raises(LinkError):
        discover(site)

"""Sites: from paths to handlers."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from trio_coap import Code, LocalProtocolError, MethodNotAllowed, NotFound, Request, Site
from trio_coap.server.paths import MAX_REMEMBERED_LENGTH, MAX_REMEMBERED_PATHS
from trio_coap.testing import open_pair


def ask(site: Site, *path: str, code: Code = Code.GET) -> Any:
    return site(Request(code, uri_path=path))


def name(text: str) -> Any:
    """Return a handler that says which one it is, with the parameters that it got."""

    def handler(request: Request, **parameters: Any) -> Any:
        return (text, parameters) if parameters else text

    return handler


def site_of(*templates: str) -> Site:
    site = Site()
    for template in templates:
        site.get(template)(name(template))
    return site


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), "/"),
        (("a",), "/a"),
        (("a", ""), "/a/"),
        (("a", "b"), "/a/b"),
        (("a b",), "/a b"),
        (("é",), "/é"),
        (("a/b",), None),
        (("",), None),
        (("", "a"), None),
        (("A",), None),
        (("a", "b", "c"), None),
    ],
)
def test_a_literal_path_is_found_segment_by_segment(path: tuple[str, ...], expected: str | None) -> None:
    site = site_of("/", "/a", "/a/", "/a/b", "/a b", "/é")
    if expected is None:
        with pytest.raises(NotFound, match="there is nothing at /"):
            ask(site, *path)
    else:
        assert ask(site, *path) == expected


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "fetch", "patch", "ipatch"])
def test_each_method_has_its_decorator(method: str) -> None:
    site = Site()
    handler = name(method)
    assert getattr(site, method)("/r")(handler) is handler
    code = Code[method.upper()] if hasattr(Code, "__getitem__") else getattr(Code, method.upper())
    assert ask(site, "r", code=code) == method
    assert getattr(site.resource("/s"), method)(handler) is handler
    assert ask(site, "s", code=code) == method


def test_a_method_that_a_resource_lacks_is_told_with_those_that_it_has() -> None:
    site = Site()
    site.put("/r")(name("put"))
    site.delete("/r")(name("delete"))
    with pytest.raises(MethodNotAllowed, match="GET is not among PUT, DELETE"):
        ask(site, "r")


def test_a_resource_without_methods_allows_none() -> None:
    site = Site()
    assert site.resource("/r") is site.resource("/r")
    with pytest.raises(MethodNotAllowed):
        ask(site, "r")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("lamps", "kitchen"), ("/lamps/{name}", {"name": "kitchen"})),
        (("lamps", ""), ("/lamps/{name}", {"name": ""})),
        (("lamps", "all"), "/lamps/all"),
        (("lamps", "all", "7"), ("/lamps/{name}/{number:int}", {"name": "all", "number": 7})),
        (("lamps", "x", "-12"), ("/lamps/{name}/{number:int}", {"name": "x", "number": -12})),
        (("lamps", "x", "007"), ("/lamps/{name}/{number:int}", {"name": "x", "number": 7})),
        (("lamps", "x", "seven"), ("/lamps/{name}/{rest:path}", {"name": "x", "rest": ("seven",)})),
        (("lamps", "x", "\u0667"), ("/lamps/{name}/{rest:path}", {"name": "x", "rest": ("\u0667",)})),
        (("lamps", "x", "1" * 20), ("/lamps/{name}/{rest:path}", {"name": "x", "rest": ("1" * 20,)})),
        (("lamps", "x", "1", "2"), ("/lamps/{name}/{rest:path}", {"name": "x", "rest": ("1", "2")})),
    ],
)
def test_parameters_and_their_order_of_precedence(path: tuple[str, ...], expected: Any) -> None:
    site = site_of("/lamps/{name}/{rest:path}", "/lamps/{name}", "/lamps/{name}/{number:int}", "/lamps/all")
    assert ask(site, *path) == expected


def test_a_literal_that_leads_nowhere_does_not_hide_a_parameter() -> None:
    site = site_of("/a/b", "/{x}/c", "/{rest:path}")
    assert ask(site, "a", "b") == "/a/b"
    assert ask(site, "a", "c") == ("/{x}/c", {"x": "a"})
    assert ask(site, "a", "d") == ("/{rest:path}", {"rest": ("a", "d")})


def test_a_rest_takes_at_least_one_segment() -> None:
    site = site_of("/files/{path:path}")
    with pytest.raises(NotFound):
        ask(site, "files")
    assert ask(site, "files", "") == ("/files/{path:path}", {"path": ("",)})


def test_the_whole_site_can_be_one_rest() -> None:
    site = site_of("/{path:path}")
    assert ask(site, "a", "b") == ("/{path:path}", {"path": ("a", "b")})


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("/{a}", "/{b}", "stands where 'a' stands elsewhere"),
        ("/{a}", "/{a:int}", "stands where 'a' stands elsewhere"),
        ("/x/{a:path}", "/x/{b:path}", "stands where 'a' stands elsewhere"),
        ("/r", "/r", "has a handler for GET already"),
    ],
)
def test_templates_that_contradict_each_other_are_refused(first: str, second: str, message: str) -> None:
    site = site_of(first)
    with pytest.raises(LocalProtocolError, match=message):
        site.get(second)(name("second"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("r", "starts with a slash"),
        ("", "starts with a slash"),
        ("/{", "is no parameter"),
        ("/a{b}", "is no parameter"),
        ("/{a-b}", "is no parameter"),
        ("/{a:float}", "is none of str, int"),
        ("/{a:path}/b", "is none of str, int"),
        ("/{a}/{a}", "twice"),
        ("/{a}/{a:path}", "twice"),
    ],
)
def test_a_malformed_template_is_refused(template: str, message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        Site().get(template)(name("never"))


def test_the_same_template_can_be_used_for_several_methods() -> None:
    site = Site()
    site.get("/{n:int}")(name("get"))
    site.put("/{n:int}")(name("put"))
    assert ask(site, "1") == ("get", {"n": 1})
    assert ask(site, "1", code=Code.PUT) == ("put", {"n": 1})


def test_what_is_no_method_has_no_handler() -> None:
    with pytest.raises(LocalProtocolError, match="is no method"):
        Site().resource("/r").method(Code.CONTENT)


def test_an_unnamed_method_can_be_registered() -> None:
    site = Site()
    site.resource("/r").method(Code.of(0, 30))(name("own"))
    assert ask(site, "r", code=Code.of(0, 30)) == "own"


# Mounted sites.


def test_a_site_is_mounted_below_a_path() -> None:
    below = site_of("/", "/state", "/{n:int}")
    site = site_of("/lamps", "/other")
    with pytest.raises(LocalProtocolError, match="already"):
        site.mount("/lamps", below)
    site.mount("/rooms/lamps", below)
    assert ask(site, "rooms", "lamps") == "/"
    assert ask(site, "rooms", "lamps", "state") == "/state"
    assert ask(site, "rooms", "lamps", "7") == ("/{n:int}", {"n": 7})
    assert ask(site, "other") == "/other"
    with pytest.raises(NotFound):
        ask(site, "rooms")


def test_what_is_added_to_a_mounted_site_later_is_found() -> None:
    site, below = Site(), Site()
    site.mount("/below", below)
    below.get("/late")(name("late"))
    assert ask(site, "below", "late") == "late"


def test_a_site_below_a_parameter_gets_it_too() -> None:
    site, below = Site(), site_of("/{what}")
    site.mount("/rooms/{room}/things", below)
    assert ask(site, "rooms", "kitchen", "things", "lamp") == ("/{what}", {"room": "kitchen", "what": "lamp"})


@pytest.mark.parametrize("path", ["/", "/a/", "/{x}", "a"])
def test_a_site_is_mounted_below_a_literal_segment(path: str) -> None:
    with pytest.raises(LocalProtocolError):
        Site().mount(path, Site())


def test_one_site_can_be_mounted_in_several_places() -> None:
    site, below = Site(), site_of("/x")
    site.mount("/a", below)
    site.mount("/b", below)
    assert ask(site, "a", "x") == ask(site, "b", "x") == "/x"


# Over the wire.


@pytest.mark.parametrize(
    ("uri", "code", "text"),
    [
        ("/", Code.CONTENT, "root"),
        ("", Code.CONTENT, "root"),
        ("/a%20b", Code.CONTENT, "a b"),
        ("/%C3%A9", Code.CONTENT, "é"),
        ("/caf%2Fe", Code.CONTENT, "one segment"),
        ("/x/./y/../z", Code.CONTENT, "z"),
        ("/dir", Code.NOT_FOUND, "there is nothing at /dir"),
        ("/dir/", Code.CONTENT, "directory"),
        ("/nothing/here", Code.NOT_FOUND, "there is nothing at /nothing/here"),
    ],
)
async def test_paths_over_the_wire(uri: str, code: Code, text: str, autojump_clock: MockClock) -> None:
    site = Site()
    handlers = {"/": "root", "/a b": "a b", "/é": "é", "/x/z": "z", "/dir/": "directory"}
    for template, answer in handlers.items():
        site.get(template)(name(answer))

    @site.get("/{segment}/")
    def never(request: Request, segment: str) -> str:
        return "never"

    @site.get("/{segment}")
    def slash(request: Request, segment: str) -> str:
        if segment != "caf/e":
            raise NotFound(f"there is nothing at /{segment}")
        return "one segment"

    async with open_pair(site) as (client, _):
        response = await client.get(uri)
    assert (response.code, response.text) == (code, text)


async def test_methods_over_the_wire(autojump_clock: MockClock) -> None:
    state = {"on": "no"}
    site = Site()

    @site.get("/lamp")
    def read(request: Request) -> str:
        return state["on"]

    @site.put("/lamp")
    async def write(request: Request) -> None:
        state["on"] = request.text

    async with open_pair(site) as (client, _):
        assert (await client.put("/lamp", "yes")).code is Code.CHANGED
        assert (await client.get("/lamp")).text == "yes"
        response = await client.delete("/lamp")
    assert (response.code, response.text) == (Code.METHOD_NOT_ALLOWED, "DELETE is not among GET, PUT")


async def test_a_handler_reads_a_request_as_json(autojump_clock: MockClock) -> None:
    """As the example of the class has it."""
    site = Site()
    lamps = {}

    @site.put("/lamps/{number:int}", consumes="json", rt="light")
    def switch_lamp(request: Request, number: int) -> None:
        lamps[number] = request.json()

    async with open_pair(site) as (client, _):
        assert (await client.put("/lamps/1", '{"on": true}', content_format=50)).code == Code.CHANGED
    assert lamps == {1: {"on": True}}


def test_what_was_found_gives_way_to_what_is_added_later() -> None:
    site, mounted = Site(), Site()
    site.get("/a/{name}")(lambda request, name: f"parameter {name}")
    site.mount("/m", mounted)
    mounted.get("/{rest:path}")(lambda request, rest: "rest")
    for path in (("a", "b"), ("m", "c")):
        assert site.find_handler(Request(Code.GET, uri_path=path)) is not None
    site.get("/a/b")(lambda request: "literal")
    mounted.get("/c")(lambda request: "literal")
    for path in (("a", "b"), ("m", "c")):
        assert site(Request(Code.GET, uri_path=path)) == "literal"
    assert site(Request(Code.GET, uri_path=("a", "c"))) == "parameter c"


def test_paths_are_remembered_up_to_a_limit() -> None:
    site = Site()
    site.get("/{name}")(lambda request, name: name)
    for number in range(2 * MAX_REMEMBERED_PATHS + 10):
        assert site(Request(Code.GET, uri_path=(str(number),))) == str(number)
    long = "x" * (MAX_REMEMBERED_LENGTH + 1)
    assert site(Request(Code.GET, uri_path=(long,))) == long
    assert MAX_REMEMBERED_PATHS < len(site._routes._remembered) <= 2 * MAX_REMEMBERED_PATHS
    assert site._routes._remembered.find((long,)) is None

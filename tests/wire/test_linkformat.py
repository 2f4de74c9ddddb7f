"""The CoRE Link Format: RFC 6690 with its examples, the ETSI plugtests' links, and what a peer may send."""

from __future__ import annotations

import contextlib
import doctest
import pickle
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire import linkformat
from trio_coap.wire.errors import LocalProtocolError, RemoteProtocolError
from trio_coap.wire.linkformat import (
    MAX_FILTERS,
    MAX_LENGTH,
    Link,
    LinkError,
    LinkFormatError,
    filter_links,
    format_links,
    parse_links,
    resolve_target,
)
from trio_coap.wire.uri import UriError

BASE = "coap://[2001:db8::1]:5700/.well-known/core?rt=x"

# RFC 6690 section 5, and the links elsewhere in it and in the RFCs that build on it.
EXAMPLES = {
    "5, one link": ("</sensors>;ct=40", {"/sensors": {"ct": "40"}}),
    "5, a sub-resource": (
        '</sensors/temp>;rt="temperature-c";if="sensor",\n</sensors/light>;rt="light-lux";if="sensor"',
        {
            "/sensors/temp": {"rt": "temperature-c", "if": "sensor"},
            "/sensors/light": {"rt": "light-lux", "if": "sensor"},
        },
    ),
    "5, an index with relations": (
        '</sensors>;ct=40;title="Sensor Index",\n'
        '</sensors/temp>;rt="temperature-c";if="sensor",\n'
        '</sensors/light>;rt="light-lux";if="sensor",\n'
        '<http://www.example.com/sensors/t123>;anchor="/sensors/temp"\n'
        ';rel="describedby",\n'
        '</t>;anchor="/sensors/temp";rel="alternate"',
        {
            "/sensors": {"ct": "40", "title": "Sensor Index"},
            "/sensors/temp": {"rt": "temperature-c", "if": "sensor"},
            "/sensors/light": {"rt": "light-lux", "if": "sensor"},
            "http://www.example.com/sensors/t123": {"anchor": "/sensors/temp", "rel": "describedby"},
            "/t": {"anchor": "/sensors/temp", "rel": "alternate"},
        },
    ),
    "5, a size": ('</firmware/v2.1>;rt="firmware";sz=262144', {"/firmware/v2.1": {"rt": "firmware", "sz": "262144"}}),
    "3.1, a URI as resource type": (
        '</t>;rt="http://sweet.jpl.nasa.gov/2.0/phys.owl#Temperature"',
        {"/t": {"rt": "http://sweet.jpl.nasa.gov/2.0/phys.owl#Temperature"}},
    ),
    "RFC 7252, content formats": ('</x>;ct="0 41"', {"/x": {"ct": "0 41"}}),
    "RFC 7641, observable": ('</t>;rt="temp";obs', {"/t": {"rt": "temp", "obs": None}}),
    "RFC 9176, no percent-encoding": ("</temperature/Malm\xf6>;rel=live", {"/temperature/Malm\xf6": {"rel": "live"}}),
    "LwM2M": ("</1>,</1/0>,</3/0>,</5>", {"/1": {}, "/1/0": {}, "/3/0": {}, "/5": {}}),
    "plugtest": (
        '</link1>;rt="Type1 Type2";if="If1";title="Link test resource",'
        '</link2>;rt="Type2 Type3";if="If2";title="Link test resource",'
        '</link3>;rt="Type1 Type3";if="foo";title="Link test resource",'
        "</path>;ct=40,</large>;sz=1280,</obs>;obs",
        {
            "/link1": {"rt": "Type1 Type2", "if": "If1", "title": "Link test resource"},
            "/link2": {"rt": "Type2 Type3", "if": "If2", "title": "Link test resource"},
            "/link3": {"rt": "Type1 Type3", "if": "foo", "title": "Link test resource"},
            "/path": {"ct": "40"},
            "/large": {"sz": "1280"},
            "/obs": {"obs": None},
        },
    ),
}


def links_of(described):
    return tuple([Link(target, attributes) for target, attributes in described.items()])


PLUGTEST = links_of(EXAMPLES["plugtest"][1])


@pytest.mark.parametrize(("text", "described"), EXAMPLES.values(), ids=EXAMPLES)
def test_example_is_read_and_written(text, described):
    assert parse_links(text) == parse_links(text.encode()) == links_of(described)
    # As in the RFC, but for its line breaks, and the quotes that a relation type may have.
    assert format_links(links_of(described)) == text.replace("\n", "").replace("rel=live", 'rel="live"')


def test_examples_in_docstrings_are_true():
    assert doctest.testmod(linkformat).failed == 0


def test_attributes_read_by_name():
    link = Link("/s", {"rt": "a  b", "if": "core.s", "ct": "0 41", "sz": "12", "title": "T", "rel": "x y", "obs": None})
    assert (link.rt, link.ct) == (("a", "b"), ("0", "41"))
    assert link.interface == link.if_ == ("core.s",)
    assert link.sz == Link("/s", {"sz": "012"}).sz == 12
    assert link.title == link.get("title") == "T"
    assert link.rel == ("x", "y")
    assert link.is_observable


def test_absent_attributes():
    assert Link("/s", {"x": ()}) == Link("/s")
    link = Link("/s", {"rt": None, "title": None})  # no value: there, but nothing to read
    assert (link.rt, link.interface, link.ct) == ((), (), ())
    assert (link.sz, link.title, link.anchor, link.get("x")) == (None, None, None, None)
    assert not link.is_observable
    assert link.rel == ("hosts",)  # RFC 6690 section 2.2
    assert list(link.attributes) == ["rt", "title"]


@pytest.mark.parametrize("value", [None, "", "-1", "1.5", "0x10", "\u0661", "1\n", "9" * 20, "9" * 5000])
def test_size_that_is_no_number_is_none(value):
    assert Link("/s", {"sz": value}).sz is None


def test_items_of_repeated_lists_are_joined_and_of_repeated_texts_the_first_counts():
    link = parse_links('</s>;rt=a;rt="b c";title=x;title=y;rel=p;rel=q;sz=1;sz=2;anchor="/a";anchor="/b"')[0]
    assert link.attributes["rt"] == ("a", "b c")
    assert link.rt == ("a", "b", "c")
    assert (link.title, link.rel, link.sz, link.anchor) == ("x", ("p",), 1, "/a")


def test_attributes_keep_their_order_which_does_not_matter_to_equality():
    link, other = Link("/s", {"b": "1", "a": "2"}), Link("/s", {"a": ["2"], "b": ("1",)})
    assert list(link.attributes) == ["b", "a"]
    assert link == other
    assert hash(link) == hash(other)
    assert link != Link("/s", {"a": ("2", "1")})


def test_attributes_cannot_be_changed():
    given = {"a": "1"}
    link = Link("/s", given)
    given["b"] = "2"
    assert list(link.attributes) == ["a"]
    with pytest.raises(TypeError):
        link.attributes["b"] = ("2",)  # type: ignore[index]


TOLERATED = {
    "nothing": ("", {}),
    "only delimiters": (" ,\r\n,\t", {}),
    "commas too many": (",</a>,,</b>,", {"/a": {}, "/b": {}}),
    "semicolons too many": ("</a>;;x;,</b>; ;", {"/a": {"x": None}, "/b": {}}),
    "white space": (' < /a > ; rt = "x" \r\n ;\n ct = 40 , \t</b> ', {"/a": {"rt": "x", "ct": "40"}, "/b": {}}),
    "a line break before a semicolon": ("</a>\n;x\n=\n1\n,</b>", {"/a": {"x": "1"}, "/b": {}}),
    "no quotes around a list": ("</a>;ct=0 41 ;rt=x y", {"/a": {"ct": "0 41", "rt": "x y"}}),
    "quotes around numbers": ('</a>;sz="12";ct="40"', {"/a": {"sz": "12", "ct": "40"}}),
    "no quotes around a title": ("</a>;title=Big \\ red", {"/a": {"title": "Big \\ red"}}),
    "delimiters in quotes": ('</a>;title="<b>;c,d=e"', {"/a": {"title": "<b>;c,d=e"}}),
    "escapes": (r'</a>;title="a \"b\" \\ \c"', {"/a": {"title": 'a "b" \\ c'}}),
    "a line break in quotes": ('</a>;title="a\r\n b\\\nc"', {"/a": {"title": "a\r\n b\nc"}}),
    "no value after the equals sign": ("</a>;x=;y=,</b>;z=", {"/a": {"x": "", "y": ""}, "/b": {"z": ""}}),
    "a quotation mark inside a value": ('</a>;x=a"b"', {"/a": {"x": 'a"b"'}}),
    "all that a ptoken may have": (
        "</a>;x=!#$%&'()*+-./09:<=>?@Az[]^_`{|}~",
        {"/a": {"x": "!#$%&'()*+-./09:<=>?@Az[]^_`{|}~"}},
    ),
    "delimiters in a target": ('</a;b,c="d">;x', {'/a;b,c="d"': {"x": None}}),
    "an empty target": ("<>", {"": {}}),
    "an extended name": ("</a>;title*=UTF-8'de'n%c3%a4chstes", {"/a": {"title*": "UTF-8'de'n%c3%a4chstes"}}),
    "obs with a value": ('</a>;obs="1"', {"/a": {"obs": "1"}}),
}


@pytest.mark.parametrize(("text", "described"), TOLERATED.values(), ids=TOLERATED)
def test_tolerated(text, described):
    assert parse_links(text) == links_of(described)


REFUSED = {
    "no link": ("hello", 0, "'hello': expected a link"),
    "a long text": ("x" * 100, 0, f"'{'x' * 20}': expected a link"),
    "no link after a comma": ("</a>, b", 6, "'b': expected a link"),
    "an open target": ("</a>,</b", 5, "'</b': expected a link: '<', a URI reference and '>'"),
    "two links without a comma": ("</a> </b>", 5, "'</b>': expected ';' or ','"),
    "a quoted name": ('</a>;"b"', 5, "'\"b\"': expected the name of an attribute"),
    "a control character as name": ("</a>;\x00", 5, r"'\x00': expected the name of an attribute"),
    "an open quotation": ('</a>;x="b;c,', 7, "'\"b;c,': expected another quotation mark"),
    "an escaped last quote": ('</a>;x="b\\"', 7, "expected another quotation mark"),
    "text after a quote": ('</a>;x="b"c', 10, "'c': expected ';' or ','"),
    "text after a name": ("</a>;x y", 7, "'y': expected ';' or ','"),
    "octets are counted": ("</\xe4>;\u6e29=\u5ea6,x", 14, "'x': expected a link"),
    "a lone surrogate": ("</\xe4>\udc80", 5, r"'\udc80': expected UTF-8"),
    "octets that are not UTF-8": (b"</\xc3\xa4>\xff", 5, r"b'\xff': expected UTF-8"),
    "a cut-off character": (b"</\xc3", 2, r"b'\xc3': expected UTF-8"),
}


@pytest.mark.parametrize(("text", "offset", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_offset_and_reason(text, offset, reason):
    with pytest.raises(LinkFormatError) as caught:
        parse_links(text)
    assert caught.value.offset == offset
    assert reason in caught.value.reason
    assert str(caught.value) == f"{caught.value.reason}, at octet {offset}"
    assert isinstance(caught.value, RemoteProtocolError)
    assert isinstance(caught.value, ValueError)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(LinkFormatError("reason", 7)))
    assert (error.reason, error.offset) == ("reason", 7)


def test_too_long_text_is_refused_unless_asked_for():
    text = "</a>,".ljust(MAX_LENGTH + 1)
    with pytest.raises(LinkFormatError, match=f"expected {MAX_LENGTH} at most"):
        parse_links(text)
    assert parse_links(text[:-1]) == (Link("/a"),)
    assert parse_links(text, max_length=len(text)) == (Link("/a"),)


WRITTEN = {
    "relation types are quoted": ({"rt": "x y", "if": "z", "rel": "p", "rev": "q"}, 'rt="x y";if="z";rel="p";rev="q"'),
    "an anchor is quoted": ({"anchor": "/b?c#d"}, 'anchor="/b?c#d"'),
    "one content format is not quoted": ({"ct": "65535"}, "ct=65535"),
    "several are": ({"ct": "0 41"}, 'ct="0 41"'),
    "a size is not": ({"sz": "0"}, "sz=0"),
    "a title always is": ({"title": "1"}, 'title="1"'),
    "escapes": ({"title": 'a"\\\n\x7f'}, 'title="a\\"\\\\\\\n\\\x7f"'),
    "media and type": ({"media": "screen", "type": "text/plain"}, 'media="screen";type="text/plain"'),
    "a language is not": ({"hreflang": ("de", "en-GB")}, "hreflang=de;hreflang=en-GB"),
    "an extended value is not": ({"title*": "UTF-8'de'n%c3%a4"}, "title*=UTF-8'de'n%c3%a4"),
    "an unknown extended value": ({"x*": ("u''", "u''a")}, "x*=u'';x*=u''a"),
    "an unknown attribute is, unless it is a number": (
        {"ep": "n", "lt": "60", "ver": "1.0", "x": "01", "e": "", "flag": None},
        'ep="n";lt=60;ver="1.0";x="01";e="";flag',
    ),
    "repeated attributes": ({"x": ("1", None, "b")}, 'x=1;x;x="b"'),
}


@pytest.mark.parametrize(("attributes", "text"), WRITTEN.values(), ids=WRITTEN)
def test_written(attributes, text):
    assert format_links([Link("/a", attributes)]) == f"</a>;{text}"
    assert parse_links(f"</a>;{text}") == (Link("/a", attributes),)


NOT_WRITTEN = {
    "an anchor with a quotation mark": ({"anchor": '"'}, "attribute anchor of '/a' has '\"': expected a URI"),
    "an empty name": ({"": "x"}, "attribute '' of '/a': expected a name"),
    "a name with a space": ({"x y": "x"}, "attribute 'x y' of '/a': expected a name"),
    "a name with two stars": ({"x**": "x"}, "expected a name"),
    "no relation type": ({"rel": ""}, "attribute rel of '/a' has '': expected names or URIs"),
    "a relation type with a quotation mark": ({"rt": 'x"'}, "expected names or URIs"),
    "a resource type beyond ASCII": ({"rt": "\xe4"}, "expected names or URIs"),
    "a leading zero": ({"sz": "01"}, "expected a number without leading zeros"),
    "a content format too large": ({"ct": "0 65536"}, "expected numbers from 0 to 65535"),
    "a language with a space": ({"hreflang": "d e"}, "expected a language tag"),
    "an extended value without charset": ({"x*": "abc"}, "expected charset'language'text"),
    "a value of obs": ({"obs": "1"}, "attribute obs of '/a' has '1': expected no value"),
    "a surrogate in a title": ({"title": "\udc80"}, "expected text that UTF-8 can encode"),
    "a type without value": ({"rt": None}, "attribute rt of '/a' has no value: expected names"),
    "an extended name without value": ({"x*": None}, "attribute x\\* of '/a' has no value"),
    "two resource types attributes": ({"rt": ("x", "y")}, "attribute rt of '/a' has 2 values: expected one"),
    "two titles": ({"title*": ("u''x", "u''y")}, "expected one"),
}


@pytest.mark.parametrize(("attributes", "reason"), NOT_WRITTEN.values(), ids=NOT_WRITTEN)
def test_not_written_and_the_error_says_why(attributes, reason):
    with pytest.raises(LinkError, match=reason) as caught:
        format_links([Link("/fine"), Link("/a", attributes)])
    assert isinstance(caught.value, LocalProtocolError)


@pytest.mark.parametrize("target", ["/a b", "/a>", "/a%2", "/\udc80", "/\n"])
def test_target_that_is_no_reference_is_not_written(target):
    with pytest.raises(LinkError, match="expected a URI reference"):
        format_links([Link(target)])


def test_every_content_format_number_and_no_other_is_written():
    pattern = linkformat._CONTENT_FORMATS
    assert [number for number in range(100_000) if pattern.fullmatch(str(number))] == list(range(65536))


TARGETS = {
    "absolute path": (Link("/t"), "coap://[2001:db8::1]:5700/t"),
    "absolute URI": (Link("http://example.com/t"), "http://example.com/t"),
    "network path": (Link("//h/t"), "coap://h/t"),
    # Section 2.1: the path of the base is replaced by an empty one, unlike in RFC 8288.
    "relative path": (Link("t"), "coap://[2001:db8::1]:5700/t"),
    "dot segments": (Link("../t/./x/.."), "coap://[2001:db8::1]:5700/t/"),
    "nothing": (Link(""), "coap://[2001:db8::1]:5700/"),
    "RFC 6690 section 5": (Link("/t", {"anchor": "/sensors/temp"}), "coap://[2001:db8::1]:5700/t"),
    "relative to an anchor": (Link("t", {"anchor": "/sensors/temp"}), "coap://[2001:db8::1]:5700/sensors/t"),
    "on the host of an anchor": (Link("/t", {"anchor": "coap://h:1/x"}), "coap://h:1/t"),
    "an anchor without value": (Link("/t", {"anchor": None}), "coap://[2001:db8::1]:5700/t"),
}


@pytest.mark.parametrize(("link", "uri"), TARGETS.values(), ids=TARGETS)
def test_target_is_resolved(link, uri):
    assert resolve_target(link, BASE) == uri


def test_target_needs_an_absolute_base():
    with pytest.raises(UriError, match="no scheme"):
        resolve_target(Link("/t"), "/.well-known/core")


def targets(query, links=PLUGTEST):
    return [link.target for link in filter_links(links, query)]


FILTERED = {
    "none": ([], ["/link1", "/link2", "/link3", "/path", "/large", "/obs"]),
    "an empty one": ([""], ["/link1", "/link2", "/link3", "/path", "/large", "/obs"]),
    # TD_COAP_LINK_02 to 08 of the ETSI plugtests
    "rt": (["rt=Type1"], ["/link1", "/link3"]),
    "rt, the second item": (["rt=Type2"], ["/link1", "/link2"]),
    "rt, any": (["rt=*"], ["/link1", "/link2", "/link3"]),
    "if": (["if=If1"], ["/link1"]),
    "if, a prefix": (["if=If*"], ["/link1", "/link2"]),
    "if, another": (["if=foo"], ["/link3"]),
    "sz, any": (["sz=*"], ["/large"]),
    "href": (["href=/link1"], ["/link1"]),
    "href, a prefix": (["href=/link*"], ["/link1", "/link2", "/link3"]),
    "ct": (["ct=40"], ["/path"]),
    "title": (["title=Link test resource"], ["/link1", "/link2", "/link3"]),
    "title, a prefix": (["title=Link t*"], ["/link1", "/link2", "/link3"]),
    # What is not asked for
    "not a word of a title": (["title=test"], []),
    "not a part of an item": (["rt=Type"], []),
    "not a whole list": (["rt=Type1 Type2"], []),
    "not a pattern in the middle": (["rt=T*1"], []),
    "a prefix of items only": (["rt=Type1 *"], []),
    "obs is there": (["obs=*"], ["/obs"]),
    "obs has no value": (["obs="], ["/obs"]),
    "obs has not that value": (["obs=1"], []),
    "an unknown attribute": (["foo=*"], []),
    "an empty name": (["=*"], []),
    "an equals sign in the value": (["rt=a=b"], []),
    "all are to be met": (["rt=Type1", "if=If*"], ["/link1"]),
    "one is not met": (["rt=Type1", "sz=*"], []),
    "no rel is written": (["rel=hosts"], []),
}


@pytest.mark.parametrize(("query", "found"), FILTERED.values(), ids=FILTERED)
def test_filtered(query, found):
    assert targets(query) == found


def test_examples_of_section_4_1():
    links = [Link("/foo/1", {"foo": "bar"}), Link("/2", {"foo": "barley"}), Link("/3", {"foo": None}), Link("/4")]
    assert targets(["href=/foo*"], links) == ["/foo/1"]
    assert targets(["foo=bar"], links) == ["/foo/1"]
    assert targets(["foo=bar*"], links) == ["/foo/1", "/2"]
    assert targets(["foo=*"], links) == ["/foo/1", "/2", "/3"]


def test_every_occurrence_of_an_attribute_is_matched_and_href_is_none():
    assert targets(["x=2"], [Link("/a", {"x": ("1", "2")})]) == ["/a"]
    assert targets(["href=/b"], [Link("/a", {"href": "/b"})]) == []


def test_example_of_section_5_with_a_filter():
    links = links_of(EXAMPLES["5, an index with relations"][1])
    assert format_links(filter_links(links, ["rt=light-lux"])) == '</sensors/light>;rt="light-lux";if="sensor"'


def test_items_of_relations_and_content_formats_are_matched():
    links = [Link("/a", {"rel": "x y", "rev": "z w"}), Link("/b", {"ct": "0 41"}), Link("/c", {"rt": ""})]
    assert targets(["rel=y"], links) == targets(["rev=w"], links) == ["/a"]
    assert targets(["ct=41"], links) == targets(["ct=4*"], links) == ["/b"]
    assert targets(["rt=*"], links) == targets(["rt="], links) == ["/c"]


def test_filter_without_equals_sign_is_refused():
    with pytest.raises(LinkFormatError, match="no '=' in the filter '\xe4b': write name=value or name=\\*") as caught:
        filter_links([], ["rt=x", "\xe4b"])
    assert caught.value.offset == 3
    with pytest.raises(LinkFormatError, match="no '='"):
        filter_links([], ["\udc80"])


def test_too_many_filters_are_refused():
    assert targets(["href=*"] * MAX_FILTERS) == targets([])
    with pytest.raises(LinkFormatError, match=f"'x=1' is one too many: expected {MAX_FILTERS} at most"):
        filter_links(PLUGTEST, [*["href=*"] * MAX_FILTERS, "x=1"])


def test_query_that_is_one_text_is_refused():
    with pytest.raises(LinkError, match="one text, 'rt=x'"):
        filter_links(PLUGTEST, "rt=x")


NAME = st.text("abcxyz09-.", min_size=1, max_size=5).filter(lambda name: name not in linkformat._RULES)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORD = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=8)
WORDS = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
NUMBER = st.integers(0, 2**64).map(str)
REFERENCE = st.text("abz09-._~/?#:@!$&'()*+,;=[]\xe4\u6e29", max_size=12)
KNOWN = {
    **dict.fromkeys(["rt", "if", "rel"], WORDS),
    **dict.fromkeys(["title", "type"], TEXT),
    "sz": NUMBER,
    "ct": st.lists(st.integers(0, 65535).map(str), min_size=1, max_size=3).map(" ".join),
    "anchor": REFERENCE,
    "obs": st.none(),
}
EXTENSIONS = st.dictionaries(NAME, st.lists(st.none() | TEXT | NUMBER, min_size=1, max_size=3), max_size=3)
LINK = st.builds(
    lambda target, known, extensions: Link(target, known | extensions),
    REFERENCE,
    st.fixed_dictionaries({}, optional=KNOWN),
    EXTENSIONS,
)
FRAGMENT = st.sampled_from([*'<>;,="\\ \n\t*\xe4\u6e29\x00\udc80', "</a>", ";x", '="', "\\\\", ";rt=", ";obs"])


@given(st.lists(LINK, max_size=4))
def test_what_is_written_is_read_again(links):
    text = format_links(links)
    assert parse_links(text) == tuple(links)
    assert parse_links(text.encode()) == tuple(links)


@given(st.text() | st.lists(FRAGMENT, max_size=20).map("".join) | st.binary(max_size=40))
def test_any_text_gives_links_or_the_one_error(text):
    try:
        parse_links(text)
    except LinkFormatError as exc:
        offset, reason = exc.offset, exc.reason
    else:
        offset, reason = 0, ""
    assert 0 <= offset <= (len(text) if isinstance(text, bytes) else len(text.encode(errors="surrogatepass")))
    assert len(reason) < 300


@given(st.lists(FRAGMENT, max_size=20).map("".join))
def test_what_was_read_is_written_alike_or_refused(text):
    with contextlib.suppress(LinkFormatError, LinkError):
        links = parse_links(text)
        written = format_links(links)
        assert parse_links(written) == links


@given(
    st.lists(LINK, max_size=4), st.lists(st.text() | st.tuples(st.sampled_from([*KNOWN, "href"]), WORD).map("=".join))
)
def test_any_query_gives_some_of_the_links_or_the_one_error(links, query):
    with contextlib.suppress(LinkFormatError):
        found = filter_links(links, query)
        assert [link for link in links if link in found] == list(found)


def count_calls(text: str) -> int:
    """Calls that reading *text* makes, of functions in Python and in C."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        parse_links(text)
    except LinkFormatError:
        pass
    finally:
        sys.setprofile(previous)
    return calls


HOSTILE = '<~</a>~,~<>,~;~<>;~<>;x=,~"~<>;x="~\\~\\"~<>;x="\\~ ~\n;~=~;x=~\xe4'  # separated by tildes


@pytest.mark.parametrize("unit", HOSTILE.split("~"))
@pytest.mark.parametrize("prefix", ["", "<", "<>", "<>;x", "<>;x=", '<>;x="', "<>;x=a "])
def test_calls_grow_no_faster_than_the_text(prefix, unit):
    short, long = count_calls(prefix + unit * 100), count_calls(prefix + unit * 1000)
    assert long <= 10 * short + 100
    assert long <= 40 * 1000 * len(unit) + 100


def test_every_repetition_in_a_pattern_is_possessive():
    # So one call of a pattern looks at each character only so often as the pattern has parts.
    patterns = {name: value.pattern for name, value in vars(linkformat).items() if hasattr(value, "groupindex")}
    assert len(patterns) > 10
    for name, pattern in patterns.items():
        bare = re.sub(r"\[\^?(?:\\.|[^\]\\])*\]|\\.|\(\?(?=[:!=])", "x", pattern, flags=re.DOTALL)
        repetitions = re.findall(r"(?:[*+?]|\{[0-9,]+\})(\+?)", bare)
        assert all(repetitions), (name, pattern)

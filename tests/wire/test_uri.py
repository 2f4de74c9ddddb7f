"""CoAP URIs: RFC 7252 section 6 and Appendix B, RFC 3986 section 5.4, and what users mistype."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.uri import (
    MAX_COMPONENT_LENGTH,
    SCHEMES,
    CoapUri,
    UriError,
    compose_uri,
    parse_uri,
    remove_dot_segments,
    resolve_reference,
)

HIRAGANA = "\u3053\u3093\u306b\u3061\u306f"

# RFC 7252 Appendix B: host, port, path, query, URI.
APPENDIX_B = {
    "1, address only": ("2001:db8::2:1", 5683, (), (), "coap://[2001:db8::2:1]/"),
    "2, Uri-Host": ("example.net", 5683, (), (), "coap://example.net/"),
    "3, Uri-Path": ("example.net", 5683, (".well-known", "core"), (), "coap://example.net/.well-known/core"),
    "4, non-ASCII": (
        "xn--18j4d.example",
        5683,
        (HIRAGANA,),
        (),
        "coap://xn--18j4d.example/%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF",
    ),
    # Printed with "?%2F%2F&?%26"; section 6.5 step 8 leaves "/" in a query as it is.
    "5, delimiters": (
        "198.51.100.1",
        61616,
        ("", "/", "", ""),
        ("//", "?&"),
        "coap://198.51.100.1:61616//%2F//?//&?%26",
    ),
}


@pytest.mark.parametrize(("host", "port", "path", "query", "uri"), APPENDIX_B.values(), ids=APPENDIX_B)
def test_appendix_b_example_is_composed(host, port, path, query, uri):
    assert compose_uri("coap", host, port, path, query) == uri


@pytest.mark.parametrize(("host", "port", "path", "query", "uri"), APPENDIX_B.values(), ids=APPENDIX_B)
def test_appendix_b_example_is_decomposed(host, port, path, query, uri):
    assert parse_uri(uri) == CoapUri("coap", host, port, path, query)


def test_appendix_b_last_example_as_printed_has_the_same_parts():
    printed = parse_uri("coap://198.51.100.1:61616//%2F//?%2F%2F&?%26")
    assert printed == parse_uri("coap://198.51.100.1:61616//%2F//?//&?%26")


@pytest.mark.parametrize(
    "uri",
    [
        "coap://example.com:5683/~sensors/temp.xml",
        "coap://EXAMPLE.com/%7Esensors/temp.xml",
        "coap://EXAMPLE.com:/%7esensors/temp.xml",
        "COAP://ex%41mple.COM:05683/~sensors/./x/../temp.xml",
    ],
)
def test_equivalent_uris_of_section_6_3_have_equal_parts(uri):
    assert parse_uri(uri) == CoapUri("coap", "example.com", 5683, ("~sensors", "temp.xml"))
    assert str(parse_uri(uri)) == "coap://example.com/~sensors/temp.xml"


def test_path_and_query_are_case_sensitive():
    assert parse_uri("coap://h/A?B") != parse_uri("coap://h/a?b")


def test_schemes_are_distinct_origins():
    assert parse_uri("coap://h:5684/") != parse_uri("coaps://h:5684/")


@pytest.mark.parametrize(
    ("rest", "path"),
    [
        ("", ()),
        ("/", ()),
        ("/.", ()),
        ("/a/..", ()),
        ("/..", ()),
        ("//", ("", "")),
        ("///", ("", "", "")),
        ("/foo", ("foo",)),
        ("/foo/", ("foo", "")),
        ("/foo//bar", ("foo", "", "bar")),
        ("/a/./b/../c", ("a", "c")),
        ("/a/b/..", ("a", "")),
        ("/a/%2E%2e/b", ("b",)),
        ("/a/%2e", ("a", "")),
        ("/a/...", ("a", "...")),
        ("/a%2F..%2Fb", ("a/../b",)),
        ("/%25%32%35", ("%25",)),
        ("/a:b@c;d=e,f!$&'()*+", ("a:b@c;d=e,f!$&'()*+",)),
        ("/%00", ("\0",)),
    ],
)
def test_path_becomes_segments(rest, path):
    assert parse_uri("coap://h" + rest).path == path


@pytest.mark.parametrize(
    ("rest", "query"),
    [
        ("", ()),
        ("?", ("",)),
        ("/?a", ("a",)),
        ("?a=1&b", ("a=1", "b")),
        ("?a&&b&", ("a", "", "b", "")),
        ("?a%26b", ("a&b",)),
        ("?/?:@", ("/?:@",)),
        ("?a+b", ("a+b",)),
        ("?../x", ("../x",)),
    ],
)
def test_query_becomes_arguments(rest, query):
    assert parse_uri("coap://h" + rest).query == query


@pytest.mark.parametrize(
    ("scheme", "default_port", "transport", "is_secure"),
    [
        ("coap", 5683, "udp", False),
        ("coaps", 5684, "dtls", True),
        ("coap+tcp", 5683, "tcp", False),
        ("coaps+tcp", 5684, "tcp", True),
        ("coap+ws", 80, "ws", False),
        ("coaps+ws", 443, "ws", True),
    ],
)
def test_scheme_gives_port_transport_and_security(scheme, default_port, transport, is_secure):
    uri = parse_uri(f"{scheme.upper()}://h")
    assert (uri.scheme, uri.port, uri.default_port, uri.is_secure) == (scheme, default_port, default_port, is_secure)
    assert SCHEMES[scheme].transport == transport
    assert str(uri) == f"{scheme}://h/"


@pytest.mark.parametrize(
    ("authority", "host", "is_literal", "canonical"),
    [
        ("example.com", "example.com", False, "example.com"),
        ("EXAMPLE.com", "example.com", False, "example.com"),
        ("192.0.2.1", "192.0.2.1", True, "192.0.2.1"),
        ("192.0.2.256", "192.0.2.256", False, "192.0.2.256"),
        ("192.0.2.01", "192.0.2.01", False, "192.0.2.01"),
        ("[::1]", "::1", True, "[::1]"),
        ("[2001:DB8:0:0:0:0:2:1]", "2001:db8::2:1", True, "[2001:db8::2:1]"),
        ("[2001:db8:0:1:1:1:1:1]", "2001:db8:0:1:1:1:1:1", True, "[2001:db8:0:1:1:1:1:1]"),
        ("[::ffff:192.0.2.1]", "::ffff:192.0.2.1", True, "[::ffff:192.0.2.1]"),
        ("[fe80::1%25eth0]", "fe80::1%eth0", True, "[fe80::1%25eth0]"),
        ("[fe80::1%eth0]", "fe80::1%eth0", True, "[fe80::1%25eth0]"),
        ("[FE80::1%25Eth0]", "fe80::1%Eth0", True, "[fe80::1%25Eth0]"),
        ("[fe80::1%251]", "fe80::1%1", True, "[fe80::1%251]"),
        ("[fe80::1%1]", "fe80::1%1", True, "[fe80::1%251]"),
        ("[fe80::1%2525]", "fe80::1%25", True, "[fe80::1%2525]"),
        ("[fe80::1%25a%40b]", "fe80::1%a@b", True, "[fe80::1%25a%40b]"),
        ("t%C3%BCr.example", "tür.example", False, "t%C3%BCr.example"),
        ("TÜR.example", "tÜr.example", False, "t%C3%9Cr.example"),
        ("a!$&'()*+,;=b", "a!$&'()*+,;=b", False, "a!$&'()*+,;=b"),
    ],
)
@pytest.mark.parametrize("port", ["", ":", ":1234"])
def test_authority_is_read_and_written(authority, host, is_literal, canonical, port):
    uri = parse_uri(f"coap://{authority}{port}/x")
    assert (uri.host, uri.host_is_literal) == (host, is_literal)
    assert uri.port == (1234 if port == ":1234" else 5683)
    assert uri.authority == canonical + (":1234" if port == ":1234" else "")
    assert parse_uri(str(uri)) == uri


def test_iri_means_its_utf8_percent_encoding():
    iri = "coap://host/tür/日本?größe=ß"
    assert parse_uri(iri) == CoapUri("coap", "host", 5683, ("tür", "日本"), ("größe=ß",))
    assert str(parse_uri(iri)) == "coap://host/t%C3%BCr/%E6%97%A5%E6%9C%AC?gr%C3%B6%C3%9Fe=%C3%9F"


MISTAKES = {
    "": "no scheme in '': .*write coap://host/path",
    "/path": "no scheme",
    "//host/path": "no scheme",
    "example.com/path": "no scheme in 'example.com/path'",
    "192.0.2.1:5683/path": "no scheme",
    "localhost:5683/path": "unknown scheme 'localhost'.*write coap://host/path",
    "http://host/": "unknown scheme 'http': expected coap, coaps",
    "coap://host/#top": "fragment .*%23",
    "coap://host#": "fragment",
    "coap:": "no host",
    "coap:/path": "no host in 'coap:/path': write coap://host/path",
    "coaps:///path": "no host .*write coaps://host/path",
    "coap://:5683/": "no host before the port",
    "coap://user@host/": "user information",
    "coap://user:pass@host/": "user information",
    "coap://host:port/": "'port' is not a port",
    "coap://host:-1/": "'-1' is not a port",
    "coap://host:1_0/": "'1_0' is not a port",
    "coap://host:\u0665/": "is not a port",
    "coap://host:123456/": "'123456' is not a port",
    "coap://host:65536/": "port 65536 is out of range: expected 1 to 65535",
    "coap://host:0/": "port 0 is out of range",
    "coap://host:" + "0" * 5000 + "/": "port 0 is out of range",
    "coap://fe80::1/": r"without brackets in 'fe80::1': write \[2001:db8::1\]",
    "coap://fe80::1%eth0/": "without brackets",
    "coap://::1/": "without brackets",
    "coap://[::1/": "misplaced bracket",
    "coap://::1]/": "without brackets",
    "coap://a]/": "misplaced bracket",
    "coap://[::1]x/": "misplaced bracket",
    "coap://[]/": "'' is not an IPv6 address",
    "coap://[::g]/": "'::g' is not an IPv6 address",
    "coap://[1:2:3:4:5:6:7]/": "is not an IPv6 address",
    "coap://[192.0.2.1]/": "is not an IPv6 address",
    "coap://[example.com]/": "is not an IPv6 address",
    "coap://[v1.fe80::a]/": "future IP version",
    "coap://[fe80::1%25]/": "no usable zone identifier",
    "coap://[fe80::1%]/": "no usable zone identifier",
    "coap://[fe80::1%25a%2Fb]/": "no usable zone identifier",
    "coap://[fe80::1%25a%zz]/": "'%zz' in zone identifier",
    "coap://host%25eth0/": "'host%eth0' is not a host",
    "coap://a%2Fb/": "'a/b' is not a host",
    "coap://a%40b/": "'a@b' is not a host",
    "coap://%3A%3A1/": "'::1' is not a host",
    "coap://a%20b/": "'a b' is not a host",
    "coap://a%C2%85b/": "is not a host",
    "coap://host/%": "'%' in path segment '%': .*write %25",
    "coap://host/%4": "'%4' in path segment",
    "coap://host/%zz": "'%zz' in path segment",
    "coap://host/?100%": "'%' in query argument '100%'",
    "coap://ho%st/": "'%st' in host",
    "coap://host/%FF": "is not UTF-8",
    "coap://host/?%C3": "is not UTF-8",
    "coap://host/%ED%A0%80": "is not UTF-8",
    "coap://h%FFst/": "is not UTF-8",
    "coap://host/\ud800": "lone surrogate",
    "coap://host/a b": "' ' in .* cannot stand in a URI: write %20",
    " coap://host/": "write %20",
    "coap://host/\n": r"write %0A",
    "coap://host/{id}": "write %7B",
    'coap://host/"x"': "write %22",
    "coap://host/a\\b": "write %5C",
    "coap://host/a[0]": "write %5B",
    "coap://host/?a]": "write %5D",
    "coap://host/\x85": "write %C2%85",
    "coap://host/" + 256 * "a": "path segment 'aaa.* has 256 octets: shorten it to 255",
    "coap://host/" + 128 * "%C3%BC": "path segment 'ü.* has 256 octets",
    "coap://host/?" + 256 * "a": "query argument 'aaa.* has 256 octets",
    "coap://" + 256 * "a": "host 'aaa.* has 256 octets",
    "coap://[fe80::1%25" + 256 * "a" + "]": "host 'fe80.* has 264 octets",
}


@pytest.mark.parametrize(("uri", "message"), MISTAKES.items(), ids=[ascii(uri)[:40] for uri in MISTAKES])
def test_mistake_is_named(uri, message):
    with pytest.raises(UriError, match=message) as info:
        parse_uri(uri)
    assert len(str(info.value)) < 250


def test_uri_error_is_a_local_error_and_a_value_error():
    assert issubclass(UriError, LocalProtocolError)
    assert issubclass(UriError, ValueError)


def test_password_is_not_repeated():
    with pytest.raises(UriError) as info:
        parse_uri("coap://user:hunter2@host/")
    assert "hunter2" not in str(info.value)


def test_255_octets_are_allowed_everywhere():
    name = "a" * MAX_COMPONENT_LENGTH
    assert parse_uri(f"coap://{name}/{name}/{name}?{name}&{name}").query == (name, name)


@pytest.mark.parametrize(
    ("arguments", "uri"),
    [
        (("coap", "h"), "coap://h/"),
        (("COAPS", "H"), "coaps://h/"),
        (("coap+ws", "h", None, ["a"]), "coap+ws://h/a"),
        (("coap", "h", 5684), "coap://h:5684/"),
        (("coap", "::1", 5683), "coap://[::1]/"),
        (("coap", "[::1]", 1), "coap://[::1]:1/"),
        (("coap", "fe80::1%eth0"), "coap://[fe80::1%25eth0]/"),
        (("coap", "h", 5683, [""]), "coap://h/"),
        (("coap", "h", 5683, ["a", ""]), "coap://h/a/"),
        (("coap", "h", 5683, ["a/b", "%2F", "a b"]), "coap://h/a%2Fb/%252F/a%20b"),
        (("coap", "h", 5683, ["a?b#c[d]"]), "coap://h/a%3Fb%23c%5Bd%5D"),
        (("coap", "h", 5683, ["-._~!$&'()*+,;=:@"]), "coap://h/-._~!$&'()*+,;=:@"),
        (("coap", "h", 5683, [], ["-._~!$'()*+,;=:@/?", "&#"]), "coap://h/?-._~!$'()*+,;=:@/?&%26%23"),
        (("coap", "h", 5683, [], [""]), "coap://h/?"),
        (("coap", "h", 5683, [], ["", ""]), "coap://h/?&"),
        (("coap", "tür"), "coap://t%C3%BCr/"),
    ],
)
def test_uri_is_composed(arguments, uri):
    assert compose_uri(*arguments) == uri


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("http", "h"), "unknown scheme"),
        (("http", "h", 80), "unknown scheme"),
        (("coap", ""), "'' is not a host"),
        (("coap", "a/b"), "'a/b' is not a host"),
        (("coap", "a%41"), "'a%41' is not a host"),
        (("coap", "a:b"), "'a:b' is not an IPv6 address"),
        (("coap", "::1\0"), "is not an IPv6 address"),
        (("coap", "h\ud800"), "lone surrogate"),
        (("coap", "h", 0), "out of range"),
        (("coap", "h", 65536), "out of range"),
        (("coap", "h", 5683, ["a", "."]), "path segment '.' cannot be in a request"),
        (("coap", "h", 5683, ["..", "a"]), "path segment '..' cannot be in a request"),
        (("coap", "h", 5683, ["a" * 256]), "256 octets"),
        (("coap", "h", 5683, [], ["ü" * 128]), "256 octets"),
        (("coap", "h", 5683, ["\ud800"]), "lone surrogate"),
        (("coap", "h", 5683, "a/b"), "expected a tuple of texts"),
        (("coap", "h", 5683, [], "a=1"), "expected a tuple of texts"),
    ],
)
def test_parts_that_no_uri_can_have_are_refused(arguments, message):
    with pytest.raises(UriError, match=message):
        compose_uri(*arguments)


texts = st.text(max_size=MAX_COMPONENT_LENGTH).filter(lambda text: len(text.encode()) <= MAX_COMPONENT_LENGTH)
hosts = st.one_of(
    st.sampled_from(["example.com", "192.0.2.1", "::1", "fe80::1%eth0", "2001:db8::2:1", "tür"]),
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9._~!$&'()*+,;=-]{1,60}", fullmatch=True),
)


@given(
    scheme=st.sampled_from(sorted(SCHEMES)),
    host=hosts,
    port=st.integers(1, 65535),
    path=st.lists(texts.filter(lambda text: text not in (".", "..")), max_size=5),
    query=st.lists(texts, max_size=5),
)
def test_parts_survive_composing_and_parsing(scheme, host, port, path, query):
    uri = compose_uri(scheme, host, port, path, query)
    parts = parse_uri(uri)
    assert uri.isascii()
    assert (parts.scheme, parts.port, parts.query) == (scheme, port, tuple(query))
    assert parts.path == (() if path == [""] else tuple(path))
    assert parts == CoapUri(scheme, host, port, tuple(path), tuple(query))
    assert str(parts) == uri


@given(st.text(alphabet="coap:/?#[]@%25.eE~1aü&\0 ", max_size=30))
def test_any_text_is_a_uri_or_a_uri_error(rest):
    try:
        parts = parse_uri("coap://" + rest)
    except UriError:
        return
    assert parse_uri(str(parts)) == parts


# RFC 3986 section 5.4, with "coap" for "http".
BASE = "coap://a/b/c/d;p?q"
REFERENCES = {
    # 5.4.1, normal examples
    "g:h": "g:h",
    "g": "coap://a/b/c/g",
    "./g": "coap://a/b/c/g",
    "g/": "coap://a/b/c/g/",
    "/g": "coap://a/g",
    "//g": "coap://g",
    "?y": "coap://a/b/c/d;p?y",
    "g?y": "coap://a/b/c/g?y",
    "#s": "coap://a/b/c/d;p?q#s",
    "g#s": "coap://a/b/c/g#s",
    "g?y#s": "coap://a/b/c/g?y#s",
    ";x": "coap://a/b/c/;x",
    "g;x": "coap://a/b/c/g;x",
    "g;x?y#s": "coap://a/b/c/g;x?y#s",
    "": "coap://a/b/c/d;p?q",
    ".": "coap://a/b/c/",
    "./": "coap://a/b/c/",
    "..": "coap://a/b/",
    "../": "coap://a/b/",
    "../g": "coap://a/b/g",
    "../..": "coap://a/",
    "../../": "coap://a/",
    "../../g": "coap://a/g",
    # 5.4.2, abnormal examples
    "../../../g": "coap://a/g",
    "../../../../g": "coap://a/g",
    "/./g": "coap://a/g",
    "/../g": "coap://a/g",
    "g.": "coap://a/b/c/g.",
    ".g": "coap://a/b/c/.g",
    "g..": "coap://a/b/c/g..",
    "..g": "coap://a/b/c/..g",
    "./../g": "coap://a/b/g",
    "./g/.": "coap://a/b/c/g/",
    "g/./h": "coap://a/b/c/g/h",
    "g/../h": "coap://a/b/c/h",
    "g;x=1/./y": "coap://a/b/c/g;x=1/y",
    "g;x=1/../y": "coap://a/b/c/y",
    "g?y/./x": "coap://a/b/c/g?y/./x",
    "g?y/../x": "coap://a/b/c/g?y/../x",
    "g#s/./x": "coap://a/b/c/g#s/./x",
    "g#s/../x": "coap://a/b/c/g#s/../x",
    "coap:g": "coap:g",  # for strict parsers
}


@pytest.mark.parametrize(("reference", "target"), REFERENCES.items())
def test_reference_example_of_rfc_3986_is_resolved(reference, target):
    assert resolve_reference(BASE, reference) == target


@pytest.mark.parametrize(
    ("base", "reference", "target"),
    [
        ("coap://host", "g", "coap://host/g"),
        ("coap://host?q", "", "coap://host?q"),
        ("coap://host?q#f", "#", "coap://host?q#"),
        ("coap://host/a", "?", "coap://host/a?"),
        ("coap://host/a?q", "//other/x/../y", "coap://other/y"),
        ("coap://host/a", "coaps+tcp://other/x/../y?z", "coaps+tcp://other/y?z"),
        ("coap://[fe80::1%25eth0]/a/b", "c", "coap://[fe80::1%25eth0]/a/c"),
        ("coap://host/a%2Fb/c", "../d", "coap://host/d"),
        ("coap://host/a/", "tür", "coap://host/a/tür"),
        ("coap://host/a/b", "x:y", "x:y"),
        ("coap://host/a/b", "./x:y", "coap://host/a/x:y"),
        ("urn:a:b", "#f", "urn:a:b#f"),
        ("x:a/b", "c", "x:a/c"),
        ("x:a/b", "../../c", "x:/c"),
        ("x:/a", ".//b", "x:/.//b"),
        ("x:a", "y:../.", "y:"),
        ("x:a", "y:..", "y:"),
    ],
)
def test_reference_is_resolved(base, reference, target):
    assert resolve_reference(base, reference) == target


def test_base_without_scheme_is_refused():
    with pytest.raises(UriError, match="no scheme in the base '/a'"):
        resolve_reference("/a", "b")


def literal_remove_dot_segments(path: str) -> str:
    """The algorithm of RFC 3986 section 5.2.4, word by word."""
    output = ""
    while path:
        if path.startswith("../"):
            path = path[3:]
        elif path.startswith(("./", "/./")):
            path = path[2:]
        elif path == "/.":
            path = "/"
        elif path.startswith("/../"):
            path, output = path[3:], output[: max(output.rfind("/"), 0)]
        elif path == "/..":
            path, output = "/", output[: max(output.rfind("/"), 0)]
        elif path in (".", ".."):
            path = ""
        else:
            end = path.find("/", 1)
            end = len(path) if end < 0 else end
            output, path = output + path[:end], path[end:]
    return output


@given(st.text(alphabet="/.a", max_size=20))
def test_dot_segments_are_removed_as_the_rfc_does_it(path):
    assert remove_dot_segments(path) == literal_remove_dot_segments(path)

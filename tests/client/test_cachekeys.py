"""What a request asks, as a cache sees it (RFC 7252 section 5.6, RFC 8132 section 2)."""

from __future__ import annotations

import pytest

from trio_coap import Block, Code, Endpoint, Options, UriError
from trio_coap.client.cachekeys import CacheKey, Question, find_question, find_resource

PEER = Endpoint(host="192.0.2.1", port=5683)
OTHER = Endpoint(host="192.0.2.2", port=5683)


def ask(
    uri: str = "coap://192.0.2.1/r", payload: bytes | str = b"", code: Code = Code.GET, base: str | None = None, **given
) -> Question:
    return find_question(code, uri, payload, given, base)  # type: ignore[arg-type]


def key(*args, **given) -> CacheKey:
    return ask(*args, **given).key


@pytest.mark.parametrize(
    "same",
    [
        key("COAP://192.0.2.1:5683/%72"),
        key("/r", base="coap://192.0.2.1/x"),
        key("coap://192.0.2.1", options=Options(uri_path=["r"])),
        key(confirmable=False),
        key(etag=[b"1"]),
        key(size1=5, size2=5),
        key(echo=b"fresh"),
        key(options=Options([(0x1C | 0xFF00, b"no cache key")])),
    ],
)
def test_what_is_no_part_of_the_key_makes_no_difference(same: CacheKey) -> None:
    assert same == key()
    assert hash(same) == hash(key())


@pytest.mark.parametrize(
    "other",
    [
        key("coap://192.0.2.1/r/"),
        key("coap://192.0.2.1/r?x"),
        key("coap://192.0.2.1:5684/r"),
        key("coaps://192.0.2.1:5683/r"),
        key("coap://192.0.2.2/r"),
        key(code=Code.FETCH),
        key(payload=b"x"),
        key(payload="x"),
        key(accept=50),
        key(content_format=50),
        key(if_none_match=True),
        key(uri_host="virtual.example"),
        key(uri_query=["x"]),
        key(proxy_uri="coap://example.net/r"),
        key(proxy_scheme="http"),
        key(remote=OTHER),
        key(options=Options([(0xFF00, b"elective, unknown")])),
    ],
    ids=repr,
)
def test_what_is_part_of_the_key_makes_a_difference(other: CacheKey) -> None:
    assert other != key()


def test_options_add_to_the_query_of_the_uri() -> None:
    assert key("coap://192.0.2.1/r?a", uri_query=["b"]) == key("coap://192.0.2.1/r?a&b")


def test_without_a_base_a_relative_uri_is_relative_to_the_remote() -> None:
    assert key("/r", remote=PEER) == key("coap://192.0.2.1/r", remote=PEER)
    with pytest.raises(UriError):
        ask("/r")


@pytest.mark.parametrize(
    "given",
    [
        {"block1": Block(0, False, 2)},
        {"block2": Block(3, False, 2)},
        {"observe": 0},
        {"options": Options(q_block1=0, q_block2=[0])},
    ],
    ids=repr,
)
def test_a_request_for_less_or_more_than_one_whole_response_has_no_key(given: dict) -> None:
    assert ask().has_key
    assert not ask(**given).has_key


def test_a_request_to_a_group_has_no_key() -> None:
    assert not ask("coap://224.0.1.187/r").has_key
    assert not ask("coap://[ff02::fd%25lo]/r").has_key
    assert not ask("coap://all.example/r", remote=Endpoint(host="ff05::fd", port=5683)).has_key
    assert ask("coap://[fe80::1%25lo]/r").has_key


def test_the_callers_own_etag_is_seen() -> None:
    assert ask(etag=b"1").has_etag
    assert not ask().has_etag


def test_a_resource_is_a_uri_without_its_query() -> None:
    resource = find_resource("coap://192.0.2.1/r")
    assert find_resource("coap://192.0.2.1/r?x") == find_resource("r", "coap://192.0.2.1/x") == resource
    assert find_resource("coap://192.0.2.1/") != resource
    assert resource.at(("a", "b")) == find_resource("coap://192.0.2.1/a/b")


@pytest.mark.parametrize(
    "question",
    [
        ask("coap://198.51.100.1", proxy_uri="coap://192.0.2.1/r?x"),
        ask("coap://198.51.100.1/r", uri_host="192.0.2.1"),
        ask("coap://192.0.2.1/r", remote=OTHER),
        ask("coap://192.0.2.1/", options=Options(uri_path=["r"])),
    ],
)
def test_a_resource_is_the_same_by_whatever_way(question: Question) -> None:
    assert question.key.resource == find_resource("coap://192.0.2.1/r")


def test_a_resource_behind_a_proxy_may_have_another_scheme() -> None:
    assert key(proxy_scheme="http").resource != key().resource
    one, other = key(proxy_uri="http://192.0.2.1/r"), key(proxy_uri="http://192.0.2.1/s")
    assert one.resource != other.resource

"""The responses that a cache keeps: what is counted is what is there, whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap import Code, Response
from trio_coap.client.cachekeys import CacheKey, find_question
from trio_coap.client.responses import MAX_VERSIONS, StoredResponses

KEYS = [find_question(Code.GET, f"coap://[::1]/{path}", b"", {}, None).key for path in ("a", "b", "b?x")]

operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("store"),
            st.sampled_from(KEYS),
            st.integers(0, 40),
            st.sampled_from([None, b"1", b"2", b"3", b"4", b"5"]),
            st.sampled_from([None, 0, 5]),
            st.sampled_from([Code.CONTENT, Code.CONTENT, Code.NOT_FOUND, Code.CHANGED]),
        ),
        st.tuples(st.just("outdate"), st.sampled_from(KEYS)),
        st.tuples(st.just("outdate_all"), st.sampled_from(KEYS)),
        st.tuples(st.just("wait"), st.sampled_from([1, 10, 100])),
        st.tuples(st.just("clear")),
    ),
    max_size=40,
)


@given(operations, st.integers(0, 5), st.integers(0, 100))
def test_what_is_counted_is_what_is_stored(steps: list, max_responses: int, max_octets: int) -> None:
    stored = StoredResponses(max_responses, max_octets)
    newest: dict[CacheKey, tuple[int, float]] = {}
    now = 0.0
    for name, *arguments in steps:
        if name == "store":
            key, size, etag, max_age, code = arguments
            stored.store(key, Response(code, bytes(size), etag=etag, max_age=max_age), now)
            newest[key] = size, now + (60 if max_age is None else max_age)
        elif name == "outdate":
            stored.outdate(arguments[0])
            newest.pop(arguments[0], None)
        elif name == "outdate_all":
            stored.outdate_all(arguments[0].resource)
            newest = {key: found for key, found in newest.items() if key.resource != arguments[0].resource}
        elif name == "wait":
            now += arguments[0]
        else:
            stored.clear()
            newest.clear()
        versions = [one for key in KEYS for one in stored.versions(key)]
        assert stored.count == len(versions) <= max_responses
        assert stored.octets == sum(one.octets for one in versions) <= max_octets
        for key in KEYS:
            assert len(stored.versions(key)) <= MAX_VERSIONS
            fresh = stored.find_fresh(key, now)
            if fresh is not None:
                size, until = newest[key]
                assert (len(fresh.payload), fresh.options.max_age) == (size, int(until - now))


def test_only_the_newest_is_ever_fresh() -> None:
    stored = StoredResponses(9, 999)
    key = KEYS[0]
    stored.store(key, Response(Code.CONTENT, b"1", etag=b"1", max_age=100), 0)
    stored.store(key, Response(Code.CONTENT, b"2", etag=b"2", max_age=5), 1)
    assert [one.etag for one in stored.versions(key)] == [b"2", b"1"]
    assert stored.find_fresh(key, 7) is None


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.SERVICE_UNAVAILABLE], ids=str)
def test_an_error_cannot_be_validated(code: Code) -> None:
    """RFC 7252 sections 5.9.2 and 5.9.3."""
    stored = StoredResponses(9, 999)
    stored.store(KEYS[0], Response(code, etag=b"1"), 0)
    assert [one.etag for one in stored.versions(KEYS[0])] == [None]

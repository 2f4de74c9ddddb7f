"""Concise problem details (RFC 9290): what is written, what is read, and what is not."""

from __future__ import annotations

import copy
import pickle
import sys
from contextlib import suppress

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_coap.wire.codes import Code
from trio_coap.wire.errors import LocalProtocolError, MissingExtra, PayloadFormatError
from trio_coap.wire.problems import MAX_BIGNUM, MAX_DEPTH, MAX_OCTETS, ProblemDetails, TaggedText

DETAILS = {0: "machine-readable error cause", 1: [["first parameter name", "must be positive"], ["second"]], 2: "d34d"}
FULL = ProblemDetails(
    title="title of the error",
    detail="detailed information about the error",
    instance="coaps://pd.example/FA317434",
    response_code=Code.BAD_REQUEST,
    base_uri="coap://pd.example/",
    base_lang="en",
    base_rtl=False,
    unprocessed_options=(9, 35),
    extensions={"tag:3gpp.org,2022-03:TS29112": DETAILS, 4711: DETAILS, -9: "registered later"},
)

texts = st.text(st.characters(codec="utf-8"))
scalars = st.integers(-(1 << 64), (1 << 64) - 1) | texts | st.binary() | st.booleans() | st.none()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
maps = st.dictionaries(st.integers(0, 99) | texts, values, min_size=1, max_size=3)
problems = st.builds(
    ProblemDetails,
    title=texts,
    detail=st.none() | texts | st.builds(TaggedText, texts, st.just("de"), st.none() | st.booleans()),
    instance=st.none() | texts,
    response_code=st.none() | st.integers(0, 255),
    base_uri=st.none() | texts,
    base_lang=st.none() | texts,
    base_rtl=st.none() | st.booleans(),
    unprocessed_options=st.lists(st.integers(0, 65535), max_size=3),
    extensions=st.dictionaries(st.integers(0, 1 << 32) | texts, maps, max_size=2),
)


def nested(levels: int) -> bytes:
    """A custom entry with an array in an array, and so on: *levels* with the map and the custom entry."""
    return bytes.fromhex("a100a100") + b"\x81" * (levels - 2) + b"\x00"


# What is written


def test_the_entries_have_the_keys_of_section_2() -> None:
    assert cbor2.loads(FULL.encode()) == {
        -1: "title of the error",
        -2: "detailed information about the error",
        -3: "coaps://pd.example/FA317434",
        -4: 128,
        -5: "coap://pd.example/",
        -6: "en",
        -7: False,
        -8: [9, 35],
        -9: "registered later",
        "tag:3gpp.org,2022-03:TS29112": DETAILS,
        4711: DETAILS,
    }


def test_what_is_not_said_is_not_written() -> None:
    assert ProblemDetails(title="a", response_code=132).encode() == bytes.fromhex("a220616123 1884")


def test_a_single_unprocessed_option_is_no_list() -> None:
    assert cbor2.loads(ProblemDetails(unprocessed_options=[9]).encode()) == {-8: 9}


def test_the_encoding_does_not_depend_on_the_order() -> None:
    one = ProblemDetails(title="a", extensions={1: {0: 1, "b": 2}, "u:x": {0: 0}})
    other = ProblemDetails(title="a", extensions={"u:x": {0: 0}, 1: {"b": 2, 0: 1}})
    assert one.encode() == other.encode()


def test_a_text_with_its_language_is_tagged() -> None:
    problem = ProblemDetails(title=TaggedText("حار", "ar", is_rtl=True), detail=TaggedText("heiß", "de"))
    assert problem.encode() == cbor2.dumps(
        {-1: cbor2.CBORTag(38, ["ar", "حار", True]), -2: cbor2.CBORTag(38, ["de", "heiß"])}, canonical=True
    )


def test_a_text_that_has_no_utf_8_is_sent_all_the_same() -> None:
    assert cbor2.loads(ProblemDetails(detail="no file \udcff").encode()) == {-2: "no file \\udcff"}


def test_problem_details_without_an_entry_are_not_sent() -> None:
    assert ProblemDetails().is_empty
    with pytest.raises(LocalProtocolError, match="without any entry"):
        ProblemDetails().encode()


@pytest.mark.parametrize("value", [object(), [object()], "\udcff"])
def test_a_value_that_has_no_form_in_cbor_is_a_local_error(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="no form in CBOR"):
        ProblemDetails(extensions={1: {0: value}}).encode()


def test_a_value_that_contains_itself_is_a_local_error() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(LocalProtocolError, match="no form in CBOR"):
        ProblemDetails(extensions={1: {0: value}}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"title": 5},
        {"detail": b"octets"},
        {"response_code": 256},
        {"response_code": "4.04"},
        {"base_rtl": "no"},
        {"unprocessed_options": ["Uri-Path"]},
        {"unprocessed_options": [-1]},
        {"extensions": {-1: "title"}},
        {"extensions": {1: "no map"}},
        {"extensions": {"u:x": {}}},
        {"extensions": {True: {0: 0}}},
        {"extensions": {b"u:x": {0: 0}}},
    ],
)
def test_a_field_of_the_wrong_type_is_a_local_error(fields: dict) -> None:
    with pytest.raises(LocalProtocolError):
        ProblemDetails(**fields)


# What is read


def test_what_was_written_is_read() -> None:
    assert ProblemDetails.decode(FULL.encode()) == FULL


@given(problems)
def test_problem_details_survive_the_way(problem: ProblemDetails) -> None:
    encoded = problem.encode()
    decoded = ProblemDetails.decode(encoded)
    assert decoded == problem
    assert decoded.encode() == encoded


@pytest.mark.parametrize("is_rtl", [None, False, True])
def test_the_language_of_a_text_is_kept(is_rtl: bool | None) -> None:
    title = ProblemDetails.decode(ProblemDetails(title=TaggedText("heiß", "de", is_rtl)).encode()).title
    assert isinstance(title, TaggedText)
    assert (title, title.language, title.is_rtl) == ("heiß", "de", is_rtl)


@pytest.mark.parametrize(
    "wrong",
    [
        {-1: 5},
        {-1: b"octets"},
        {-1: cbor2.CBORTag(38, "text")},
        {-1: cbor2.CBORTag(38, ["de"])},
        {-1: cbor2.CBORTag(38, [1, 2])},
        {-1: cbor2.CBORTag(39, ["de", "heiß"])},
        {-3: ["coap://host/"]},
        {-4: 256},
        {-4: "4.04"},
        {-4: True},
        {-5: 1},
        {-6: 1},
        {-7: 1},
        {-7: None},
        {-8: "Uri-Path"},
        {-8: [-1, "x", None]},
        {1: "no map"},
        {"u:x": {}},
        {b"key": {0: 0}},
        {None: {0: 0}},
        {False: {0: 0}},
    ],
    ids=repr,
)
def test_an_entry_of_the_wrong_type_counts_as_absent(wrong: dict) -> None:
    assert ProblemDetails.decode(cbor2.dumps({-2: "detail", **wrong})) == ProblemDetails(detail="detail")


def test_an_entry_that_is_not_known_is_kept() -> None:
    problem = ProblemDetails.decode(cbor2.dumps({-1: "title", -99: [1], 7: {0: 1}}))
    assert problem == ProblemDetails(title="title", extensions={-99: [1], 7: {0: 1}})


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff",
        b"\x80",
        b"\xa0",
        b"\x61a",
        b"no CBOR at all",
        FULL.encode()[:-1],
        FULL.encode() + b"\0",
        bytes.fromhex("a12062ff00"),  # a title that is not UTF-8
        bytes.fromhex("a120c1fbffffffffffffffff"),  # a date that is none
        bytes.fromhex("a100d81c81d81d00"),  # an array that contains itself
        bytes.fromhex("a100bb7fffffffffffffff"),  # a map with more entries than there is memory
        bytes.fromhex("bf20ff"),
        bytes.fromhex("1f"),
        bytes.fromhex("1c"),
    ],
    ids=lambda octets: octets[:16].hex() or "nothing",
)
def test_what_are_no_problem_details_is_one_kind_of_error(octets: bytes) -> None:
    with pytest.raises(PayloadFormatError):
        ProblemDetails.decode(octets)


def test_what_is_nested_too_deep_is_not_read() -> None:
    assert ProblemDetails.decode(nested(MAX_DEPTH - 1)).extensions
    with pytest.raises(PayloadFormatError, match="deeper"):
        ProblemDetails.decode(nested(MAX_DEPTH))


@pytest.mark.parametrize("octet", [b"\x81", b"\x9f", b"\xd8\x26", b"\xa1", b"\xbf"])
def test_octets_that_only_nest_are_an_error(octet: bytes) -> None:
    with pytest.raises(PayloadFormatError):
        ProblemDetails.decode(octet * (MAX_OCTETS // len(octet)))


def test_a_bignum_that_python_would_not_show_is_not_read() -> None:
    def bignum(size: int) -> bytes:
        return cbor2.dumps({1: {0: 1 << (8 * size - 1)}})

    assert repr(ProblemDetails.decode(bignum(MAX_BIGNUM)))
    with pytest.raises(PayloadFormatError, match="bignum"):
        ProblemDetails.decode(bignum(MAX_BIGNUM + 1))


def test_more_octets_than_the_limit_are_not_read() -> None:
    def of_size(size: int) -> bytes:
        return cbor2.dumps({-1: "x" * (size - 5)})

    assert len(of_size(MAX_OCTETS)) == MAX_OCTETS
    assert ProblemDetails.decode(of_size(MAX_OCTETS)).title
    with pytest.raises(PayloadFormatError, match=f"at most {MAX_OCTETS}"):
        ProblemDetails.decode(of_size(MAX_OCTETS + 1))


@given(st.binary() | values.map(cbor2.dumps))
@example(b"\xa1\x20\xd8\x23\x62((")
@example(b"\xa1\x20\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\xa1\x20\xd8\x1e\x82\x01\x00")
def test_whatever_the_octets_out_come_problem_details_or_one_error(octets: bytes) -> None:
    try:
        problem = ProblemDetails.decode(octets)
    except PayloadFormatError:
        return
    assert isinstance(str(problem), str)
    assert isinstance(repr(problem), str)


@given(st.data())
def test_octets_that_were_changed_under_way_are_no_other_error(data: st.DataObject) -> None:
    octets = bytearray(FULL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PayloadFormatError):
        assert repr(ProblemDetails.decode(bytes(octets)))


# Without the library


def test_without_cbor2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = FULL.encode()
    monkeypatch.setitem(sys.modules, "cbor2", None)
    for use in (FULL.encode, lambda: ProblemDetails.decode(octets)):
        with pytest.raises(MissingExtra, match=r"pip install 'trio-coap\[cbor\]'") as caught:
            use()
        assert caught.value.extra == "cbor"
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# Values


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (ProblemDetails(title="Out of range", detail="97 °C"), "Out of range: 97 °C"),
        (ProblemDetails(title="Out of range"), "Out of range"),
        (ProblemDetails(detail="97 °C"), "97 °C"),
        (ProblemDetails(unprocessed_options=[9, 35]), "unprocessed options 9, 35"),
        (ProblemDetails(instance="coap://host/"), ""),
    ],
)
def test_problem_details_read_as_title_and_detail(problem: ProblemDetails, text: str) -> None:
    assert str(problem) == text


def test_problem_details_survive_copy_and_pickle() -> None:
    problem = ProblemDetails(title=TaggedText("heiß", "de", is_rtl=False), extensions={1: {0: [1]}})
    for twin in (copy.copy(problem), copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert twin == problem
        assert twin.encode() == problem.encode()

"""The content-format registry: numbers, media types, short names, own formats."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire import contentformats
from trio_coap.wire.contentformats import (
    CONTENT_FORMATS,
    ContentFormat,
    UnknownContentFormat,
    content_format_of,
    is_cbor,
    is_json,
    is_text,
    media_type_of,
    register_content_format,
)
from trio_coap.wire.errors import LocalProtocolError


@pytest.fixture
def own_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    for name in ("_formats", "_numbers", "_short"):
        monkeypatch.setattr(contentformats, name, dict(getattr(contentformats, name)))


@pytest.mark.parametrize(
    ("constant", "number", "media_type"),
    [
        ("TEXT_PLAIN", 0, "text/plain; charset=utf-8"),
        ("COSE_ENCRYPT0", 16, 'application/cose; cose-type="cose-encrypt0"'),
        ("COSE_MAC0", 17, 'application/cose; cose-type="cose-mac0"'),
        ("COSE_SIGN1", 18, 'application/cose; cose-type="cose-sign1"'),
        ("ACE_CBOR", 19, "application/ace+cbor"),
        ("IMAGE_GIF", 21, "image/gif"),
        ("IMAGE_JPEG", 22, "image/jpeg"),
        ("IMAGE_PNG", 23, "image/png"),
        ("LINK_FORMAT", 40, "application/link-format"),
        ("XML", 41, "application/xml"),
        ("OCTET_STREAM", 42, "application/octet-stream"),
        ("EXI", 47, "application/exi"),
        ("JSON", 50, "application/json"),
        ("JSON_PATCH", 51, "application/json-patch+json"),
        ("MERGE_PATCH", 52, "application/merge-patch+json"),
        ("CBOR", 60, "application/cbor"),
        ("CWT", 61, "application/cwt"),
        ("MULTIPART_CORE", 62, "application/multipart-core"),
        ("CBOR_SEQ", 63, "application/cbor-seq"),
        ("EDHOC_CBOR_SEQ", 64, "application/edhoc+cbor-seq"),
        ("CID_EDHOC_CBOR_SEQ", 65, "application/cid-edhoc+cbor-seq"),
        ("COSE_KEY", 101, "application/cose-key"),
        ("COSE_KEY_SET", 102, "application/cose-key-set"),
        ("SENML_JSON", 110, "application/senml+json"),
        ("SENSML_JSON", 111, "application/sensml+json"),
        ("SENML_CBOR", 112, "application/senml+cbor"),
        ("SENSML_CBOR", 113, "application/sensml+cbor"),
        ("SENML_EXI", 114, "application/senml-exi"),
        ("SENSML_EXI", 115, "application/sensml-exi"),
        ("COAP_GROUP_JSON", 256, "application/coap-group+json"),
        ("CONCISE_PROBLEM_DETAILS", 257, "application/concise-problem-details+cbor"),
        ("MISSING_BLOCKS", 272, "application/missing-blocks+cbor-seq"),
        ("SENML_XML", 310, "application/senml+xml"),
        ("SENSML_XML", 311, "application/sensml+xml"),
        ("SENML_ETCH_JSON", 320, "application/senml-etch+json"),
        ("SENML_ETCH_CBOR", 322, "application/senml-etch+cbor"),
        ("OSCORE", 10001, "application/oscore"),
        ("LWM2M_TLV", 11542, "application/vnd.oma.lwm2m+tlv"),
        ("LWM2M_JSON", 11543, "application/vnd.oma.lwm2m+json"),
        ("LWM2M_CBOR", 11544, "application/vnd.oma.lwm2m+cbor"),
    ],
)
def test_constant_names_its_row(constant, number, media_type):
    assert getattr(contentformats, constant) == number
    assert media_type_of(number) == media_type


def test_every_row_is_found_by_its_media_type_and_coding():
    for number, row in CONTENT_FORMATS.items():
        assert row.number == number
        assert content_format_of(row.media_type, row.content_coding) == number
        assert content_format_of(row.media_type.upper().replace("; ", ";"), row.content_coding) == number


def test_every_short_name_leads_to_a_row_without_coding():
    for name, number in contentformats._short.items():
        assert content_format_of(name) == number
        assert CONTENT_FORMATS[number].content_coding == ""


def test_reserved_numbers_are_not_in_the_registry():
    numbers = [row[0] for row in contentformats._REGISTRY]
    assert not {1542, 1543, 64998, 64999} & set(numbers)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < 65000


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("text", 0),
        ("plain", 0),
        ("TEXT/PLAIN", 0),
        ("text/plain", 0),
        ("text/plain;charset=utf-8", 0),
        (' text/plain ; charset="UTF-8" ', 0),
        ("link-format", 40),
        ("link", 40),
        ("xml", 41),
        ("octet-stream", 42),
        ("binary", 42),
        ("exi", 47),
        ("JSON", 50),
        ("application/json", 50),
        ("json-patch", 51),
        ("merge-patch+json", 52),
        ("cbor", 60),
        ("cwt", 61),
        ("cbor-seq", 63),
        ("cose-sign1", 18),
        ("application/cose;cose-type=cose-sign1", 18),
        ("senml-json", 110),
        ("senml+json", 110),
        ("senml-cbor", 112),
        ("problem-details", 257),
        ("application/eat+cwt", 263),
        ("pkcs10", 286),
        ("application/yang-data+cbor", 340),
        ("td+json", 432),
        ("javascript", 10002),
        ("lwm2m-tlv", 11542),
        ("css", 20000),
        ("svg", 30000),
        ("svg+xml", 30000),
        ("gif", 21),
        ("60", 60),
        ("0", 0),
        ("00060", 60),
        ("0000000065000", 65000),
        (60, 60),
        (1, 1),
        (65535, 65535),
    ],
)
def test_content_format_is_found(name, number):
    assert content_format_of(name) == number


@pytest.mark.parametrize(
    ("name", "coding", "number"),
    [
        ("application/json", "deflate", 11050),
        ("json", "Deflate", 11050),
        ("cbor", "deflate", 11060),
        ("text/plain", "zstd", 12000),
        ("text", "zstd", 12000),
    ],
)
def test_content_format_with_a_coding_is_found(name, coding, number):
    assert content_format_of(name, coding) == number
    assert CONTENT_FORMATS[number].content_coding == coding.lower()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jsn", "unknown content format 'jsn': did you mean json"),
        ("aplication/cbor", "did you mean application/cbor"),
        ("senml/json", "did you mean .*senml"),
        ("text/plain; charset=latin-1", "did you mean text/plain; charset=utf-8"),
        ("application/cose", "ambiguous: write one of .*cose-encrypt0.* [(]16[)], .* [(]98[)]"),
        ("application/pkcs7-mime", "ambiguous: write one of .* [(]280[)], .* [(]281[)]"),
        ("", "unknown content format ''"),
        ("\u0665", "write a registered media type or a number up to 65535"),
        ("q" * 10_000, "write a registered media type or a number"),
        ("-1", "unknown content format '-1'"),
        ("65536", "65536 is out of range: expected 0 to 65535"),
        ("9" * 10_000, "999999 is out of range"),
        (-1, "-1 is out of range"),
        (65536, "65536 is out of range"),
    ],
)
def test_unknown_content_format_is_refused_with_a_hint(name, message):
    with pytest.raises(UnknownContentFormat, match=message) as info:
        content_format_of(name)
    assert isinstance(info.value, LocalProtocolError)
    assert isinstance(info.value, LookupError)
    assert len(str(info.value)) < 600


def test_unknown_coding_is_named():
    with pytest.raises(UnknownContentFormat, match="'json' in content coding 'br': did you mean"):
        content_format_of("json", "br")


def test_media_type_of_an_unregistered_number_is_none():
    assert media_type_of(65000) is None
    assert media_type_of(-1) is None


@pytest.mark.parametrize(
    ("predicate", "yes", "no"),
    [
        (is_text, [0, 20000], [12000, 40, 41, 50, 30000, 65000]),
        (is_json, [50, 51, 52, 110, 256, 432, 11543], [11050, 12050, 60, 276, 20001, 0, 65000]),
        (is_cbor, [60, 19, 112, 140, 257, 340, 11544], [11060, 63, 64, 272, 50, 0, 65000]),
    ],
)
def test_format_is_judged_by_its_suffix_and_coding(predicate, yes, no):
    assert [number for number in yes + no if predicate(number)] == yes


@pytest.mark.usefixtures("own_registry")
class TestOwnFormats:
    def test_own_format_is_known_by_number_media_type_and_short_name(self):
        row = register_content_format(65000, 'application/vnd.example+CBOR ;v="1"')
        assert row == ContentFormat(65000, 'application/vnd.example+CBOR; v="1"')
        assert media_type_of(65000) == row.media_type
        assert content_format_of("application/vnd.example+cbor; v=1") == 65000
        assert content_format_of("application/vnd.example+cbor") == 65000
        assert is_cbor(65000)
        register_content_format(65001, "application/vnd.other+json")
        assert content_format_of("vnd.other-json") == 65001

    def test_own_coding_does_not_take_the_name_without_coding(self):
        assert register_content_format(65000, "application/cbor", "BR").content_coding == "br"
        assert content_format_of("application/cbor") == 60
        assert content_format_of("cbor", "br") == 65000

    def test_own_format_does_not_take_a_short_name(self):
        register_content_format(65000, "application/link")
        assert content_format_of("link") == 40
        assert content_format_of("application/link") == 65000

    def test_registering_the_same_twice_changes_nothing(self):
        row = register_content_format(65000, "application/vnd.example")
        assert register_content_format(65000, "Application/vnd.Example") is row
        assert register_content_format(0, "text/plain;charset=utf-8") is CONTENT_FORMATS[0]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((60, "application/vnd.example"), "content format 60 is taken by application/cbor"),
            ((60, "application/cbor", "deflate"), "content format 60 is taken"),
            ((65000, "application/cbor"), "application/cbor has the number 60 already"),
            ((65536, "application/vnd.example"), "out of range"),
            ((-1, "application/vnd.example"), "out of range"),
            ((65000, "cbor"), "'cbor' is not a media type: write type/subtype"),
            ((65000, "application/x; y"), "is not a media type"),
            ((65000, ""), "is not a media type"),
        ],
    )
    def test_what_is_taken_or_malformed_is_refused(self, arguments, message):
        with pytest.raises(LocalProtocolError, match=message):
            register_content_format(*arguments)


def test_rows_are_values():
    assert attrs.evolve(CONTENT_FORMATS[60]) == CONTENT_FORMATS[60]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CONTENT_FORMATS[60].number = 61  # type: ignore[misc]


@given(st.text(max_size=40), st.sampled_from(["", "deflate", "x"]))
def test_any_name_gives_a_number_or_the_one_error(name, coding):
    try:
        number = content_format_of(name, coding)
    except UnknownContentFormat:
        return
    assert 0 <= number <= 65535


@pytest.mark.parametrize("row", contentformats._REGISTRY, ids=str)
def test_a_row_of_the_registry_is_in_the_form_that_registering_gives_it(
    row: tuple[int, str] | tuple[int, str, str],
) -> None:
    # The registry is entered without the checks, which would take a millisecond in each process.
    registered = register_content_format(*row)
    assert registered == ContentFormat(*row)
    assert contentformats._normal_media_type(row[1]) == row[1]


def test_no_number_stands_twice_in_the_registry() -> None:
    numbers = [row[0] for row in contentformats._REGISTRY]
    assert len(set(numbers)) == len(numbers)

"""CBOR in diagnostic notation: the examples of RFC 8949 Appendix A, and octets that are no CBOR."""

from __future__ import annotations

from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.cli.diagnostic import MAX_DEPTH, diagnose_sequence_untrusted, diagnose_untrusted


@pytest.mark.parametrize(
    ("octets", "notation"),
    [
        ("00", "0"),
        ("1818", "24"),
        ("1bffffffffffffffff", "18446744073709551615"),
        ("3bffffffffffffffff", "-18446744073709551616"),
        ("20", "-1"),
        ("f90000", "0.0"),
        ("f98000", "-0.0"),
        ("f93e00", "1.5"),
        ("fa47c35000", "100000.0"),
        ("fb7e37e43c8800759c", "1e+300"),
        ("f97c00", "Infinity"),
        ("f97e00", "NaN"),
        ("f9fc00", "-Infinity"),
        ("f4", "false"),
        ("f5", "true"),
        ("f6", "null"),
        ("f7", "undefined"),
        ("f0", "simple(16)"),
        ("f8ff", "simple(255)"),
        ("c074323031332d30332d32315432303a30343a30305a", '0("2013-03-21T20:04:00Z")'),
        ("c11a514b67b0", "1(1363896240)"),
        ("d818456449455446", "24(h'6449455446')"),
        ("40", "h''"),
        ("4401020304", "h'01020304'"),
        ("62225c", '"\\"\\\\"'),
        ("62c3bc", '"ü"'),
        ("83010203", "[1, 2, 3]"),
        ("8301820203820405", "[1, [2, 3], [4, 5]]"),
        ("a201020304", "{1: 2, 3: 4}"),
        ("a26161016162820203", '{"a": 1, "b": [2, 3]}'),
        ("5f42010243030405ff", "(_ h'0102', h'030405')"),
        ("7f657374726561646d696e67ff", '(_ "strea", "ming")'),
        ("9fff", "[_ ]"),
        ("9f018202039f0405ffff", "[_ 1, [2, 3], [_ 4, 5]]"),
        ("bf61610161629f0203ffff", '{_ "a": 1, "b": [_ 2, 3]}'),
    ],
)
def test_the_examples_of_rfc_8949_appendix_a(octets: str, notation: str) -> None:
    assert diagnose_untrusted(bytes.fromhex(octets)) == notation


def test_a_long_array_takes_several_lines() -> None:
    items = [70 * "x", 10 * "y"]
    assert diagnose_untrusted(cbor2.dumps(items)) == f'[\n  "{items[0]}",\n  "{items[1]}"\n]'


def test_a_sequence_has_any_number_of_items() -> None:
    assert list(diagnose_sequence_untrusted(bytes.fromhex("01820203"))) == ["1", "[2, 3]"]
    assert list(diagnose_sequence_untrusted(b"")) == []


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "0001",
        "18",
        "1c",
        "1f",
        "41",
        "61ff",
        "81",
        "9f",
        "a101",
        "bf01ff",
        "ff",
        "df01",
        "5f01ff",
        "5f61",
        "5f5fffff",
    ],
)
def test_what_is_no_item_is_a_value_error(octets: str) -> None:
    with pytest.raises(ValueError):
        diagnose_untrusted(bytes.fromhex(octets))


def test_nesting_has_a_limit() -> None:
    assert diagnose_untrusted(MAX_DEPTH * b"\x81" + b"\0").count("[") == MAX_DEPTH
    with pytest.raises(ValueError, match="deeper"):
        diagnose_untrusted((MAX_DEPTH + 1) * b"\x81" + b"\0")


@given(st.binary(max_size=60))
def test_any_octets_are_text_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(diagnose_untrusted(data), str)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.slow
@given(JSON_LIKE)
def test_whatever_is_cbor_is_text(value: object) -> None:
    assert diagnose_untrusted(cbor2.dumps(value))

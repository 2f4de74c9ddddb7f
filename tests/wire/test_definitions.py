"""The option table and options of the application's own: RFC 7252 sections 3.2, 5.4 and 5.10."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire import definitions
from trio_coap.wire.definitions import (
    DEFINITIONS,
    MAX_OPTION_NUMBER,
    OptionDefinition,
    OptionFormat,
    OptionValue,
    encode_uint,
    find_definition,
    is_critical,
    is_no_cache_key,
    is_unsafe,
    register_option,
)
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message
from trio_coap.wire.options import Options

EMPTY, OPAQUE, UINT, STRING = OptionFormat.EMPTY, OptionFormat.OPAQUE, OptionFormat.UINT, OptionFormat.STRING

# Number: name, the columns C U N R as the RFC has them (N only where the option is safe), format, lengths.
TABLE = {
    # RFC 7252 table 4
    1: ("If-Match", "C  R", OPAQUE, 0, 8),
    3: ("Uri-Host", "CU  ", STRING, 1, 255),
    4: ("ETag", "   R", OPAQUE, 1, 8),
    5: ("If-None-Match", "C   ", EMPTY, 0, 0),
    7: ("Uri-Port", "CU  ", UINT, 0, 2),
    8: ("Location-Path", "   R", STRING, 0, 255),
    11: ("Uri-Path", "CU R", STRING, 0, 255),
    12: ("Content-Format", "    ", UINT, 0, 2),
    14: ("Max-Age", " U  ", UINT, 0, 4),
    15: ("Uri-Query", "CU R", STRING, 0, 255),
    17: ("Accept", "C   ", UINT, 0, 2),
    20: ("Location-Query", "   R", STRING, 0, 255),
    35: ("Proxy-Uri", "CU  ", STRING, 1, 1034),
    39: ("Proxy-Scheme", "CU  ", STRING, 1, 255),
    60: ("Size1", "  N ", UINT, 0, 4),
    6: ("Observe", " U  ", UINT, 0, 3),  # RFC 7641 section 2
    9: ("OSCORE", "C   ", OPAQUE, 0, 255),  # RFC 8613 section 2
    16: ("Hop-Limit", "    ", UINT, 1, 1),  # RFC 8768 section 3
    19: ("Q-Block1", "CU  ", UINT, 0, 3),  # RFC 9177 section 4.1
    31: ("Q-Block2", "CU R", UINT, 0, 3),  # RFC 9177 section 4.1
    21: ("EDHOC", "C   ", EMPTY, 0, 65804),  # RFC 9668 section 3.1: a value is ignored
    23: ("Block2", "CU  ", UINT, 0, 3),  # RFC 7959 section 2.1
    27: ("Block1", "CU  ", UINT, 0, 3),  # RFC 7959 section 2.1
    28: ("Size2", "  N ", UINT, 0, 4),  # RFC 7959 section 4
    252: ("Echo", "  N ", OPAQUE, 1, 40),  # RFC 9175 section 2.2
    258: ("No-Response", " U  ", UINT, 0, 1),  # RFC 7967 section 2
    292: ("Request-Tag", "   R", OPAQUE, 0, 8),  # RFC 9175 section 3.2
}

NUMBERS = st.integers(0, MAX_OPTION_NUMBER)


@pytest.fixture(autouse=True)
def _restored_table() -> Iterator[None]:
    """Forget what a test registers."""
    numbers, names = dict(DEFINITIONS), dict(definitions._BY_NAME)
    yield
    for table, before in ((DEFINITIONS, numbers), (definitions._BY_NAME, names)):
        table.clear()
        table.update(before)  # type: ignore[arg-type]
    for forget in definitions.WHEN_REGISTERED:
        forget()


def columns(definition: OptionDefinition) -> str:
    flags = (
        definition.is_critical,
        definition.is_unsafe,
        definition.is_no_cache_key,
        definition.is_repeatable,
    )
    return "".join(letter if flag else " " for letter, flag in zip("CUNR", flags, strict=True))


# The table


def test_the_table_has_the_options_of_the_rfcs_and_no_others() -> None:
    assert sorted(DEFINITIONS) == sorted(TABLE)


@pytest.mark.parametrize("number", TABLE)
def test_an_option_is_defined_as_in_its_rfc(number: int) -> None:
    found = DEFINITIONS[number]
    assert found.number == number
    assert (found.name, columns(found), found.format, found.min_length, found.max_length) == TABLE[number]


@pytest.mark.parametrize("number", TABLE)
def test_an_option_is_found_by_number_name_and_definition(number: int) -> None:
    name = TABLE[number][0]
    definition = DEFINITIONS[number]
    assert find_definition(number) is definition
    assert find_definition(definition) is definition
    for spelling in (name, name.lower(), name.upper(), name.replace("-", "_").lower()):
        assert find_definition(spelling) is definition


@given(NUMBERS)
def test_the_properties_are_bits_of_the_number(number: int) -> None:
    bits = f"{number:016b}"  # section 5.4.6, figure 10: the last five bits are KKKUC
    assert is_critical(number) == (bits[-1] == "1")
    assert is_unsafe(number) == (bits[-2] == "1")
    assert is_no_cache_key(number) == (bits[-5:-1] == "1110")


# Look-up


@given(NUMBERS.filter(lambda number: number not in TABLE))
def test_an_unknown_number_gets_a_nameless_opaque_definition(number: int) -> None:
    assert find_definition(number) == OptionDefinition(number, str(number), OPAQUE, 0, 65804, True)


@pytest.mark.parametrize("number", [-1, 65536])
def test_a_number_out_of_range_is_an_error_that_says_so(number: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"0 to 65535, not {number}"):
        find_definition(number)


@pytest.mark.parametrize("name", ["", "Uri-Paths", "65001", "uri path"])
def test_an_unknown_name_is_an_error_that_says_so(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"no option named '{name}'.*register_option"):
        find_definition(name)


@pytest.mark.parametrize("option", [True, False, None, 1.5, b"Uri-Path"])
def test_what_is_neither_number_nor_name_is_an_error_that_says_so(option: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"0 to 65535, not {option!r}"):
        find_definition(option)


# Values


@given(st.integers(0, 2**64))
def test_a_uint_takes_as_few_octets_as_possible(value: int) -> None:
    encoded = encode_uint(value)
    assert int.from_bytes(encoded, "big") == value
    assert not encoded.startswith(b"\0")


def test_zero_takes_no_octets() -> None:
    assert encode_uint(0) == b""


def test_a_uint_is_padded_to_the_least_length() -> None:
    assert DEFINITIONS[16].encode(0) == b"\0"
    assert DEFINITIONS[16].encode(16) == b"\x10"


@pytest.mark.parametrize("number", TABLE)
def test_the_lengths_of_the_table_hold(number: int) -> None:
    definition = DEFINITIONS[number]
    _, _, _, shortest, longest = TABLE[number]
    assert definition.fault_of(b"a" * shortest) is None
    assert definition.fault_of(b"a" * longest) is None
    assert definition.fault_of(b"a" * (longest + 1)) is not None
    if shortest:
        assert definition.fault_of(b"a" * (shortest - 1)) is not None


def test_a_fault_of_length_says_what_was_seen_and_what_is_allowed() -> None:
    assert DEFINITIONS[4].fault_of(b"123456789") == "has 9 octets, allowed: 1 to 8"
    assert DEFINITIONS[16].fault_of(b"") == "has 0 octets, allowed: 1"


@pytest.mark.parametrize("value", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_string_that_is_not_utf_8_is_a_fault(value: bytes) -> None:
    assert DEFINITIONS[11].fault_of(value) == "is not UTF-8"


@pytest.mark.parametrize("number", [4, 12])
def test_only_strings_need_be_utf_8(number: int) -> None:
    assert DEFINITIONS[number].fault_of(b"\xff\xff") is None


def test_a_uint_may_have_leading_zeros() -> None:
    assert DEFINITIONS[14].fault_of(b"\0\0\0\5") is None
    assert DEFINITIONS[14].decode(b"\0\0\0\5") == 5


def test_each_format_decodes_to_its_type() -> None:
    assert DEFINITIONS[4].decode(b"\1") == b"\1"
    assert DEFINITIONS[5].decode(b"") == b""
    assert DEFINITIONS[21].decode(b"ignored") == b""
    assert DEFINITIONS[12].decode(b"") == 0
    assert DEFINITIONS[11].decode("ü".encode()) == "ü"


def values_of(definition: OptionDefinition) -> st.SearchStrategy[OptionValue]:
    if definition.format is EMPTY:
        return st.just(b"")
    if definition.format is UINT:
        return st.integers(0, 256**definition.max_length - 1)
    if definition.format is STRING:
        shortest, longest = definition.min_length, definition.max_length // 4
        text = st.text(st.characters(codec="utf-8"), min_size=shortest, max_size=longest)
        return text.filter(lambda value: value.encode() not in definition.forbidden)
    return st.binary(min_size=definition.min_length, max_size=definition.max_length)


@given(st.data(), st.sampled_from(sorted(TABLE)))
def test_every_allowed_value_survives_encoding_and_decoding(data: st.DataObject, number: int) -> None:
    definition = DEFINITIONS[number]
    value = data.draw(values_of(definition))
    encoded = definition.encode(value)
    assert definition.fault_of(encoded) is None
    assert definition.decode(encoded) == value


@given(st.sampled_from(sorted(TABLE)), st.binary(max_size=300))
def test_octets_without_fault_decode_and_encode_again(number: int, octets: bytes) -> None:
    definition = DEFINITIONS[number]
    if definition.fault_of(octets) is None:
        value = definition.decode(octets)
        assert definition.decode(definition.encode(value)) == value


@pytest.mark.parametrize("value", [b"", True])
def test_an_empty_option_takes_true_or_no_octets(value: OptionValue) -> None:
    assert DEFINITIONS[5].encode(value) == b""


@pytest.mark.parametrize("value", [bytearray(b"x"), memoryview(b"x")])
def test_an_opaque_option_takes_anything_like_bytes_and_keeps_bytes(value: bytes) -> None:
    encoded = DEFINITIONS[4].encode(value)
    assert type(encoded) is bytes
    assert encoded == b"x"


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (5, False),
        (5, 1),
        (5, b"x"),
        (5, ""),
        (12, "0"),
        (12, b"\0"),
        (12, True),
        (12, -1),
        (11, 5),
        (11, b"lamp"),
        (4, "abc"),
        (4, 7),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_says_what_was_seen(number: int, value: OptionValue) -> None:
    definition = DEFINITIONS[number]
    with pytest.raises(LocalProtocolError) as caught:
        definition.encode(value)
    assert str(caught.value) == (
        f"option {definition.name} takes a value of format {definition.format.value}, not {value!r}"
    )


@pytest.mark.parametrize(
    ("number", "value", "length"),
    [(4, b"", 0), (4, b"123456789", 9), (3, "", 0), (3, "x" * 256, 256), (11, "ü" * 128, 256), (12, 65536, 3)],
)
def test_a_value_of_the_wrong_length_is_an_error_that_says_what_was_seen(
    number: int, value: OptionValue, length: int
) -> None:
    definition = DEFINITIONS[number]
    with pytest.raises(LocalProtocolError) as caught:
        definition.encode(value)
    assert f"option {definition.name} has {length} octets, allowed: " in str(caught.value)
    assert repr(value)[:100] in str(caught.value)


def test_a_text_that_has_no_utf_8_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError, match="Uri-Path has a lone surrogate"):
        DEFINITIONS[11].encode("\ud800")


def test_the_error_for_a_very_long_value_is_short() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        find_definition(65000).encode(bytes(65805))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).endswith("\\x00'...")


@pytest.mark.parametrize("value", ["x" * 10000, list(range(10000))])
def test_the_error_for_a_long_value_of_the_wrong_type_is_short(value: OptionValue) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        DEFINITIONS[12].encode(value)
    assert len(str(caught.value)) < 200


# Options of the application's own


def test_a_registered_option_is_known_by_number_and_name() -> None:
    lamp_mode = register_option(65001, "Lamp-Mode", STRING, min_length=1, max_length=10, is_repeatable=True)
    assert lamp_mode == OptionDefinition(65001, "Lamp-Mode", STRING, 1, 10, True)
    assert find_definition(65001) is lamp_mode
    assert find_definition("lamp_mode") is lamp_mode
    assert columns(lamp_mode) == "C  R"


def test_an_option_is_opaque_and_single_unless_said_otherwise() -> None:
    assert register_option(65001, "Lamp-Mode") == OptionDefinition(65001, "Lamp-Mode", OPAQUE, 0, 255, False)


def test_an_empty_option_has_no_length() -> None:
    assert register_option(65001, "Lamp-On", EMPTY).max_length == 0


def test_registering_the_same_definition_again_is_fine() -> None:
    assert register_option(65001, "Lamp-Mode", UINT) is register_option(65001, "Lamp-Mode", UINT)


def test_registering_an_option_of_the_table_again_is_fine() -> None:
    assert register_option(11, "Uri-Path", STRING, is_repeatable=True) is DEFINITIONS[11]


@pytest.mark.parametrize(
    ("number", "name", "known"),
    [
        (65001, "Lamp-Dimmer", "65001 'Lamp-Mode'"),
        (65002, "Lamp-Mode", "65001 'Lamp-Mode'"),
        (65002, "LAMP_MODE", "65001 'Lamp-Mode'"),
        (65001, "Lamp-Mode", "65001 'Lamp-Mode'"),  # in another format
        (11, "Lamp-Dimmer", "11 'Uri-Path'"),
        (65002, "uri_path", "11 'Uri-Path'"),
    ],
)
def test_a_number_or_name_that_is_taken_is_an_error_that_says_by_what(number: int, name: str, known: str) -> None:
    register_option(65001, "Lamp-Mode", UINT, max_length=1)
    before = dict(DEFINITIONS), dict(definitions._BY_NAME)
    with pytest.raises(LocalProtocolError, match=f"option {number} '{name}' collides with {known}"):
        register_option(number, name)
    after = dict(DEFINITIONS), dict(definitions._BY_NAME)
    assert after == before


@pytest.mark.parametrize("number", [-1, 65536, True])
def test_a_number_out_of_range_cannot_be_registered(number: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"0 to 65535, not {number}"):
        register_option(number, "Lamp-Mode")


@pytest.mark.parametrize(("shortest", "longest"), [(-1, 5), (6, 5), (0, -1)])
def test_lengths_that_are_no_range_cannot_be_registered(shortest: int, longest: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"'Lamp-Mode': the lengths {shortest} to {longest} are"):
        register_option(65001, "Lamp-Mode", min_length=shortest, max_length=longest)
    assert 65001 not in DEFINITIONS


def test_an_empty_option_with_a_least_length_cannot_be_registered() -> None:
    with pytest.raises(LocalProtocolError, match="the lengths 1 to 0 are no range"):
        register_option(65001, "Lamp-On", EMPTY, min_length=1)


def test_a_length_that_the_wire_cannot_carry_cannot_be_registered() -> None:
    with pytest.raises(LocalProtocolError, match="the lengths 0 to 65805 are no range up to 65804"):
        register_option(65001, "Lamp-Image", max_length=65805)
    assert register_option(65001, "Lamp-Image", max_length=65804).max_length == 65804


@pytest.mark.parametrize("name", ["Get", "Raw", "Problems", "Without", "Etags", "Find-Critical-Problem"])
def test_a_name_that_hides_behind_an_attribute_of_options_cannot_be_registered(name: str) -> None:
    keyword = name.lower().replace("-", "_")
    assert hasattr(Options, keyword)
    with pytest.raises(LocalProtocolError, match=f"'{name}': {keyword} means something else"):
        register_option(65001, name)
    assert 65001 not in DEFINITIONS


@pytest.mark.parametrize("name", ["Type", "Code", "Payload", "Token", "Message-ID"])
def test_a_name_that_is_a_field_of_messages_cannot_be_registered(name: str) -> None:
    assert hasattr(Message, name.lower().replace("-", "_"))
    with pytest.raises(LocalProtocolError, match="means something else"):
        register_option(65001, name)


@pytest.mark.parametrize(
    "name", ["", "Lamp Mode", "-", "-Lamp", "_Lamp", "7-Lamps", "Lampe\u0308", "Lamp\n", "x" * 999 + "!"]
)
def test_a_name_that_is_no_word_cannot_be_registered(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="letters, digits and hyphens") as caught:
        register_option(65001, name)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["From", "IF"])
def test_a_name_that_cannot_be_a_keyword_cannot_be_registered(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"{name.lower()} means something else"):
        register_option(65001, name)


def test_an_option_beside_a_block_that_becomes_known_is_judged_anew() -> None:
    items = ((11, b"a"), (23, b"\x16"), (65_432, b"x"))
    assert [problem.number for problem in Options.from_wire(items).problems] == [65_432]
    register_option(65_432, "Known-After-A-Block")
    assert Options.from_wire(items).problems == ()

"""The options of a message: RFC 7252 sections 3.1, 5.4 and 5.10."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire import definitions
from trio_coap.wire.block import Block
from trio_coap.wire.definitions import (
    DEFINITIONS,
    OptionDefinition,
    OptionFormat,
    OptionValue,
    find_definition,
    register_option,
)
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.options import _KEYWORDS, OptionInput, OptionName, Options

NUMBERS = st.one_of(st.sampled_from(sorted(DEFINITIONS)), st.integers(0, 65535))
ITEMS = st.lists(st.tuples(NUMBERS, st.binary(max_size=20)), max_size=12).map(
    lambda items: tuple(sorted(items, key=lambda item: item[0]))
)

# Keyword: value given, value read, occurrences on the wire.
BY_NAME: dict[str, tuple[OptionInput, object, tuple[tuple[int, bytes], ...]]] = {
    "if_match": ([b"", b"\1"], (b"", b"\1"), ((1, b""), (1, b"\1"))),
    "uri_host": ("example.net", "example.net", ((3, b"example.net"),)),
    "etag": (b"\1\2", b"\1\2", ((4, b"\1\2"),)),
    "etags": ([b"b", b"a"], (b"b", b"a"), ((4, b"b"), (4, b"a"))),
    "if_none_match": (True, True, ((5, b""),)),
    "observe": (0, 0, ((6, b""),)),
    "uri_port": (61616, 61616, ((7, b"\xf0\xb0"),)),
    "location_path": (("a", "", "ü"), ("a", "", "ü"), ((8, b"a"), (8, b""), (8, b"\xc3\xbc"))),
    "oscore": (b"\x09\x14", b"\x09\x14", ((9, b"\x09\x14"),)),
    "uri_path": (["lamp", "1"], ("lamp", "1"), ((11, b"lamp"), (11, b"1"))),
    "content_format": (50, 50, ((12, b"2"),)),
    "max_age": (2**32 - 1, 2**32 - 1, ((14, b"\xff\xff\xff\xff"),)),
    "uri_query": ("unit=K", ("unit=K",), ((15, b"unit=K"),)),
    "hop_limit": (16, 16, ((16, b"\x10"),)),
    "accept": (0, 0, ((17, b""),)),
    "q_block1": (Block(1, True, 2), Block(1, True, 2), ((19, b"\x1a"),)),
    "location_query": ("q", ("q",), ((20, b"q"),)),
    "edhoc": (True, True, ((21, b""),)),
    "block2": (Block(0, False, 6), Block(0, False, 6), ((23, b"\6"),)),
    "block1": (0x1A, Block(1, True, 2), ((27, b"\x1a"),)),
    "size2": (0, 0, ((28, b""),)),
    "q_block2": ([0x16, 0x26], (Block(1), Block(2)), ((31, b"\x16"), (31, b"\x26"))),
    "proxy_uri": ("coap://h/", "coap://h/", ((35, b"coap://h/"),)),
    "proxy_scheme": ("coap", "coap", ((39, b"coap"),)),
    "size1": (3000, 3000, ((60, b"\x0b\xb8"),)),
    "echo": (b"\0" * 40, b"\0" * 40, ((252, b"\0" * 40),)),
    "no_response": (26, 26, ((258, b"\x1a"),)),
    "request_tag": (b"", (b"",), ((292, b""),)),
}

ABSENT = {
    **dict.fromkeys(("if_match", "etags", "location_path", "uri_path", "uri_query", "location_query"), ()),
    **dict.fromkeys(("q_block2", "request_tag"), ()),
    **dict.fromkeys(("if_none_match", "edhoc"), False),
}


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


def wire(*items: tuple[int, bytes]) -> Options:
    return Options.from_wire(items)


# Typed access


def test_every_option_of_the_table_has_an_attribute() -> None:
    assert {find_definition(name).number for name in BY_NAME if name != "etags"} == set(DEFINITIONS)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_option_is_given_and_read_by_name(name: str) -> None:
    given_value, read, items = BY_NAME[name]
    options = Options(**{name: given_value})
    assert tuple(options) == items
    assert getattr(options, name) == read


@pytest.mark.parametrize("name", BY_NAME)
def test_an_absent_option_reads_as_none_or_empty(name: str) -> None:
    assert getattr(Options(), name) == ABSENT.get(name)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "etags"])
def test_an_option_is_read_by_number_name_and_definition_alike(name: str) -> None:
    definition = find_definition(name)
    options = Options(**{name: BY_NAME[name][0]})
    ways: tuple[OptionName, ...] = (definition.number, definition.name, name, definition)
    assert len({options.get(way) for way in ways}) == 1
    assert len({options.get_all(way) for way in ways}) == 1
    assert options.get(name) == options.get_all(name)[0]
    assert all(way in options for way in ways)


def test_the_attribute_of_the_class_tells_the_number() -> None:
    assert Options.max_age.number == 14


def test_an_option_is_given_by_number_name_or_definition_in_pairs() -> None:
    by_number = Options([(11, "lamp"), (11, "1"), (3, "h")])
    assert by_number == Options([("uri_path", "lamp"), ("Uri-Path", "1"), (DEFINITIONS[3], "h")])
    assert tuple(by_number) == ((3, b"h"), (11, b"lamp"), (11, b"1"))


def test_pairs_come_before_keywords_of_the_same_option() -> None:
    assert Options([(11, "a")], uri_path=("b", "c")).uri_path == ("a", "b", "c")


@given(st.permutations(["size1", "uri_path", "if_match", "accept", "etags"]))
def test_the_order_of_keywords_makes_no_difference(names: list[str]) -> None:
    values: dict[str, OptionInput] = {
        "size1": 1,
        "uri_path": ("b", "a"),
        "if_match": b"x",
        "accept": 0,
        "etags": [b"e"],
    }
    options = Options(**{name: values[name] for name in names})
    assert tuple(options) == ((1, b"x"), (4, b"e"), (11, b"b"), (11, b"a"), (17, b""), (60, b"\1"))


@pytest.mark.parametrize("pairs", [[(60, 1), (14, 5), (60, 1)], [(14, 5), (60, 1), (14, 5)], [(14, 5), (14, 5)]])
def test_a_second_value_is_refused_wherever_the_first_one_stands(pairs: list[tuple[OptionName, OptionInput]]) -> None:
    with pytest.raises(LocalProtocolError, match="is not repeatable, and is given twice"):
        Options(pairs)  # type: ignore[arg-type]


def test_a_keyword_in_any_spelling_is_taken_and_only_one_spelling_is_remembered() -> None:
    for name in ("Uri-Path", "URI_PATH", "uri-path", "uri_path"):
        assert Options(**{name: "a"}).uri_path == ("a",)
    assert {"Uri-Path", "URI_PATH", "uri-path", "uri_path"} & set(_KEYWORDS) == {"uri_path"}


def test_a_keyword_is_forgotten_when_the_table_changes() -> None:
    assert Options(uri_path="a").uri_path == ("a",)
    register_option(65001, "Lamp-Mode")
    assert not _KEYWORDS
    assert tuple(Options(lamp_mode=b"x")) == ((65001, b"x"),)


def test_options_are_in_ascending_order_and_repetitions_in_the_order_given() -> None:
    options = Options(size1=1, uri_path=("b", "a"), if_match=b"x")
    assert [number for number, _ in options] == [1, 11, 11, 60]
    assert options.uri_path == ("b", "a")


@pytest.mark.parametrize(
    "by_name", [{"uri_path": None}, {"uri_path": ()}, {"if_none_match": False}, {"max_age": None}, {"max_age": []}]
)
def test_none_and_false_and_no_values_leave_an_option_out(by_name: dict[str, OptionInput]) -> None:
    assert len(Options(**by_name)) == 0


def test_one_string_is_one_value() -> None:
    assert Options(uri_path="lamp").uri_path == ("lamp",)


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_anything_like_bytes_is_one_value(value: bytes) -> None:
    assert Options(etag=value).etag == b"x"


def test_an_unknown_number_takes_octets_as_they_are() -> None:
    options = Options([(65001, b"\xff"), (65001, b"")])
    assert options.get(65001) == b"\xff"
    assert options.get_all(65001) == options.raw(65001) == (b"\xff", b"")


def test_an_unknown_number_reads_as_absent() -> None:
    assert Options(max_age=1).get(65001) is None
    assert Options(max_age=1).get_all(65001) == ()
    assert 65001 not in Options(max_age=1)


def test_a_definition_need_not_be_registered() -> None:
    lamp_mode = OptionDefinition(65001, "Lamp-Mode", OptionFormat.UINT, 0, 1)
    assert Options([(lamp_mode, 5)]).get(lamp_mode) == 5


def test_an_etag_reads_as_the_first_of_several() -> None:
    assert Options(etag=[b"a", b"b"]).etag == b"a"


# Mistakes of the caller


@pytest.mark.parametrize(
    ("by_name", "text"),
    [
        ({"teapot": 1}, "no option named 'teapot'"),
        ({"self": 1}, "no option named 'self'"),
        ({"max_age": "5"}, "option Max-Age takes a value of format uint, not '5'"),
        ({"max_age": b"5"}, "option Max-Age takes a value of format uint, not b'5'"),
        ({"max_age": -1}, "option Max-Age takes a value of format uint, not -1"),
        ({"max_age": True}, "option Max-Age takes a value of format uint, not True"),
        ({"max_age": 2**32}, "option Max-Age has 5 octets, allowed: 0 to 4: 4294967296"),
        ({"uri_path": 5}, "option Uri-Path takes a value of format string, not 5"),
        ({"uri_path": ["a", b"b"]}, "option Uri-Path takes a value of format string, not b'b'"),
        ({"etag": "x"}, "option ETag takes a value of format opaque, not 'x'"),
        ({"etag": b"123456789"}, "option ETag has 9 octets, allowed: 1 to 8: b'123456789'"),
        ({"if_none_match": 1}, "option If-None-Match takes a value of format empty, not 1"),
        ({"uri_path": Block(0)}, "option Uri-Path takes a value of format string, not 6"),
        ({"block1": -10}, "option Block1 takes a value of format uint, not -10"),
        ({"block1": 2**24}, "option Block1 has 4 octets, allowed: 0 to 3"),
        ({"block1": [Block(0), Block(1)]}, "option Block1 is not repeatable, and is given twice"),
        ({"max_age": [1, 2]}, "option Max-Age is not repeatable, and is given twice"),
    ],
)
def test_a_wrong_keyword_is_an_error_that_says_what_was_seen(by_name: dict[str, OptionInput], text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Options(**by_name)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([(14, 1), ("max_age", 2)], "option Max-Age is not repeatable"),
        ([(65536, b"")], "0 to 65535, not 65536"),
        ([(65001, "x")], "option 65001 takes a value of format opaque, not 'x'"),
        ([(65001, bytes(65805))], "option 65001 has 65805 octets, allowed: 0 to 65804"),
        ([(5, False)], "option If-None-Match takes a value of format empty, not False"),
    ],
)
def test_a_wrong_pair_is_an_error_that_says_what_was_seen(
    items: list[tuple[OptionName, OptionValue]], text: str
) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Options(items)
    assert text in str(caught.value)


def test_pair_and_keyword_together_do_not_repeat_what_is_not_repeatable() -> None:
    with pytest.raises(LocalProtocolError, match="Max-Age is not repeatable"):
        Options([(14, 1)], max_age=2)


@pytest.mark.parametrize("name", ["teapot", "uri_paths"])
def test_an_unknown_attribute_is_an_attribute_error_that_says_so(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'{name}'"):
        getattr(Options(), name)


def test_a_private_name_is_never_an_option() -> None:
    with pytest.raises(AttributeError, match="_lamp"):
        Options()._lamp  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("value", [1.5, object()])
def test_a_value_of_no_option_type_is_a_local_error(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="Max-Age takes a value of format uint, not "):
        Options(max_age=value)  # type: ignore[arg-type]


def test_the_blocks_of_q_block2_can_be_given_again() -> None:
    options = Options(q_block2=[0x16, 0x26])
    assert Options(q_block2=options.q_block2) == options
    assert Options([(31, block) for block in options.q_block2]) == options


# What came over the wire


def test_what_came_over_the_wire_is_kept_as_it_came() -> None:
    items = ((4, b"123456789"), (11, b"\xff"), (14, b"\1"), (14, b"\2"), (65001, b"?"))
    options = wire(*items)
    assert tuple(options) == items
    assert len(options) == 5


def test_a_value_that_is_too_long_counts_as_absent() -> None:
    options = wire((4, b"123456789"), (12, b"\0\0\0"))
    assert options.etag is None
    assert options.etags == ()
    assert options.content_format is None
    assert options.get("content_format") is None
    assert options.raw(12) == ()


def test_a_value_that_is_too_short_counts_as_absent() -> None:
    assert wire((16, b"")).hop_limit is None


def test_a_flag_with_a_value_counts_as_absent() -> None:
    assert wire((5, b"x")).if_none_match is False


def test_a_string_that_is_not_utf_8_counts_as_absent() -> None:
    options = wire((3, b"\xff"), (11, b"a"), (11, b"\xc3"), (11, b"b"))
    assert options.uri_host is None
    assert options.uri_path == ("a", "b")


def test_a_surplus_occurrence_counts_as_absent() -> None:
    options = wire((14, b"\1"), (14, b"\2"))
    assert options.max_age == 1
    assert options.get_all("max_age") == (1,)


def test_a_surplus_occurrence_does_not_stand_in_for_a_malformed_first_one() -> None:
    assert wire((14, b"12345"), (14, b"\2")).max_age is None


def test_an_occurrence_that_does_not_count_is_still_contained() -> None:
    assert "content_format" in wire((12, b"\0\0\0"))


@pytest.mark.parametrize("option", ["nope", 65536, -1, True, None, 1.5])
def test_what_names_no_option_is_not_contained(option: OptionName) -> None:
    assert option not in Options(if_match=b"x", max_age=5)


@given(ITEMS)
def test_typed_access_to_whatever_came_never_fails(items: tuple[tuple[int, bytes], ...]) -> None:
    options = wire(*items)
    for name in BY_NAME:
        getattr(options, name)
    for number, _ in items:
        assert options.get(number) == next(iter(options.get_all(number)), None)


# Options of the application's own


def test_a_registered_single_option_works_by_name() -> None:
    register_option(65001, "Lamp-Mode", OptionFormat.UINT, max_length=1)
    options = Options(lamp_mode=5)
    assert tuple(options) == ((65001, b"\5"),)
    assert options.lamp_mode == 5  # type: ignore[attr-defined]
    assert Options().lamp_mode is None  # type: ignore[attr-defined]
    assert repr(options) == "Options(lamp_mode=5)"


def test_a_registered_repeatable_option_works_by_name() -> None:
    register_option(65001, "Lamp-Tag", OptionFormat.STRING, is_repeatable=True)
    assert Options(lamp_tag=("a", "b")).lamp_tag == ("a", "b")  # type: ignore[attr-defined]
    assert Options().lamp_tag == ()  # type: ignore[attr-defined]


def test_a_registered_option_is_judged_as_those_of_the_table_are() -> None:
    register_option(65001, "Lamp-Mode", OptionFormat.UINT, max_length=1)
    options = wire((65001, b"\1\2"), (65001, b"\3"))
    assert [problem.reason for problem in options.problems] == [
        "has 2 octets, allowed: 0 to 1",
        "is given more than once",
    ]
    assert str(options.problems[1]) == "option 65001 (Lamp-Mode) is given more than once"
    assert wire((65001, b"\1")).find_critical_problem({65001}) is None


# Other options from these


def test_replace_gives_other_values() -> None:
    options = Options(uri_path=("a", "b"), max_age=5)
    assert options.replace(uri_path="c", accept=0) == Options(uri_path="c", max_age=5, accept=0)
    assert options == Options(uri_path=("a", "b"), max_age=5)


def test_replace_with_none_takes_an_option_away() -> None:
    assert Options(uri_path="a", max_age=5).replace(max_age=None) == Options(uri_path="a")


def test_replace_knows_the_plural_of_etag() -> None:
    assert Options(etag=b"a").replace(etags=(b"b", b"c")).etags == (b"b", b"c")


def test_replace_keeps_what_it_does_not_name_even_if_malformed() -> None:
    options = wire((12, b"\0\0\0"), (65001, b"x"))
    assert tuple(options.replace(uri_host="h")) == ((3, b"h"), (12, b"\0\0\0"), (65001, b"x"))


def test_replace_takes_surplus_and_malformed_occurrences_away_too() -> None:
    assert tuple(wire((14, b"12345"), (14, b"\1")).replace(max_age=2)) == ((14, b"\2"),)


@pytest.mark.parametrize("by_name", [{"teapot": 1}, {"max_age": "x"}, {"self": 1}])
def test_replace_refuses_what_options_refuse(by_name: dict[str, OptionInput]) -> None:
    with pytest.raises(LocalProtocolError):
        Options().replace(**by_name)


def test_without_takes_all_occurrences_away() -> None:
    options = wire((11, b"a"), (11, b"b"), (14, b""), (17, b""), (65001, b"x"))
    assert tuple(options.without("uri_path", 65001, DEFINITIONS[17])) == ((14, b""),)
    assert options.without() == options


def test_without_an_option_that_is_not_there_is_fine() -> None:
    assert Options(max_age=1).without("accept", 65001) == Options(max_age=1)


def test_addition_appends_occurrences_in_order() -> None:
    total = Options(uri_path="a", max_age=5) + Options(uri_host="h", uri_path="b")
    assert total == Options(uri_host="h", uri_path=("a", "b"), max_age=5)


@given(ITEMS, ITEMS)
def test_addition_keeps_every_occurrence_in_order(
    left: tuple[tuple[int, bytes], ...], right: tuple[tuple[int, bytes], ...]
) -> None:
    total = wire(*left) + wire(*right)
    numbers = [number for number, _ in total]
    assert numbers == sorted(numbers)
    for number in set(numbers):
        expected = [item for item in (*left, *right) if item[0] == number]
        assert [item for item in total if item[0] == number] == expected


# Values


def test_options_are_equal_if_they_are_the_same_on_the_wire() -> None:
    assert Options(uri_path=("a", "b"), max_age=0) == wire((11, b"a"), (11, b"b"), (14, b""))
    assert Options(uri_path=("a", "b")) != Options(uri_path=("b", "a"))
    assert Options(max_age=0) != wire((14, b"\0"))
    assert Options() != ()


@given(ITEMS)
def test_equal_options_have_equal_hashes(items: tuple[tuple[int, bytes], ...]) -> None:
    assert len({wire(*items), wire(*items)}) == 1


@given(ITEMS)
def test_options_survive_copy_and_pickle(items: tuple[tuple[int, bytes], ...]) -> None:
    options = wire(*items)
    assert copy.copy(options) == copy.deepcopy(options) == pickle.loads(pickle.dumps(options)) == options


def test_options_are_true_if_there_is_one() -> None:
    assert not Options()
    assert Options(observe=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Options(), "Options()"),
        (Options(uri_path=("lamp", "1"), max_age=5), "Options(uri_path=('lamp', '1'), max_age=5)"),
        (Options(if_none_match=True, echo=b"\1"), "Options(if_none_match=True, echo=b'\\x01')"),
        (Options(request_tag=b""), "Options(request_tag=(b'',))"),
        (Options([(65001, b"x"), (65001, b"")]), "Options(65001=b'x', 65001=b'')"),
        (wire((14, b"\1"), (14, b"\2")), "Options(max_age=[1, 2])"),
        (wire((12, b"123")), "Options(12=b'123')"),
    ],
)
def test_options_print_as_they_are_written(options: Options, text: str) -> None:
    assert repr(options) == text


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "etags"])
def test_the_print_of_good_options_makes_the_same_options(name: str) -> None:
    options = Options(**{name: BY_NAME[name][0]})
    assert eval(repr(options)) == options  # it is the text of an expression


def test_the_print_of_an_empty_oscore_option_makes_the_same_options() -> None:
    options = Options(oscore=b"")
    assert repr(options) == "Options(oscore=b'')"


# Encoding (section 3.1)


@pytest.mark.parametrize(
    ("number", "head"),
    [
        (0, b"\x00"),
        (12, b"\xc0"),
        (13, b"\xd0\x00"),
        (268, b"\xd0\xff"),
        (269, b"\xe0\x00\x00"),
        (65535, b"\xe0\xfe\xf2"),
    ],
)
def test_a_delta_is_extended_from_13_and_from_269(number: int, head: bytes) -> None:
    assert wire((number, b"")).encode() == head


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x10"),
        (12, b"\x1c"),
        (13, b"\x1d\x00"),
        (268, b"\x1d\xff"),
        (269, b"\x1e\x00\x00"),
        (65804, b"\x1e\xff\xff"),
    ],
)
def test_a_length_is_extended_from_13_and_from_269(length: int, head: bytes) -> None:
    assert wire((1, bytes(length))).encode() == head + bytes(length)


def test_the_extension_of_the_delta_comes_before_that_of_the_length() -> None:
    assert wire((270, bytes(14))).encode() == b"\xed\x00\x01\x01" + bytes(14)


def test_numbers_are_sent_as_differences() -> None:
    encoded = Options(uri_host="h", uri_path=("a", "b"), size1=1).encode()
    assert encoded == b"\x31h" + b"\x81a" + b"\x01b" + b"\xd1\x24\x01"


def test_no_options_are_no_octets() -> None:
    assert Options().encode() == b""


@pytest.mark.parametrize("number", [6, 14, 23, 27, 60])
@pytest.mark.parametrize("value", [0, 1, 255, 256, 0xFFFFF])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(content_format=0),
        Options(etag=b"e", uri_path="a", size1=2),
        Options(observe=3, max_age=2, block2=Block(1), block1=Block(2)),
    ],
)
def test_a_number_is_set_as_by_name(options: Options, number: int, value: int) -> None:
    name = {6: "observe", 14: "max_age", 23: "block2", 27: "block1", 60: "size1"}[number]
    expected = options.replace(**{name: value})
    for _ in range(2):  # The second time with what the first one has left behind.
        found = options.with_uint(number, value)
        assert (found, found.encode()) == (expected, expected.encode())
        assert [getattr(found, each) for each in SINGLE] == [getattr(expected, each) for each in SINGLE]
        assert found.problems == expected.problems


SINGLE = ("etag", "observe", "content_format", "max_age", "block2", "block1", "size1")


def test_options_less_the_same_few_are_the_same() -> None:
    options = Options(observe=0, uri_path="a", size2=0)
    assert options.without(6, 28) is options.without(6, 28)
    assert options.without(6) == Options(uri_path="a", size2=0)
    assert options.without(6, 28) == Options(uri_path="a")


def test_an_option_that_was_registered_before_anybody_needed_options_can_be_read() -> None:
    script = (
        "from trio_coap import register_option\n"
        "register_option(65001, 'Lamp-Mode')\n"
        "from trio_coap import Options\n"
        "assert Options([(65001, b'x')]).lamp_mode == b'x'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

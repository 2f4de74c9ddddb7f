"""The options of the blocks of one body, which share what was found out about them: RFC 7959 section 2."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.wire.test_option_problems import problems_of
from trio_coap.wire.block import Block
from trio_coap.wire.definitions import is_no_cache_key
from trio_coap.wire.encoding import Items
from trio_coap.wire.options import MAX_STEM_OCTETS, MAX_STEMS, Options, _stems

NAMES = (
    "uri_path",
    "uri_query",
    "observe",
    "accept",
    "block1",
    "block2",
    "size1",
    "echo",
    "request_tag",
    "content_format",
)
NUMBERS = st.sampled_from([5, 6, 11, 11, 12, 15, 17, 23, 27, 28, 60, 252, 292, 65000, 65001])
VALUES = st.sampled_from([b"", b"a", b"..", b"\xff", b"\x16", b"\x01\x0e", bytes(3), bytes(4)])
ITEMS = st.lists(st.tuples(NUMBERS, VALUES), max_size=6).map(
    lambda items: tuple(sorted(items, key=lambda item: item[0]))
)
ORDINARY = {3, 7, 11, 12, 15, 17, 23, 27, 28, 60, 292}
NONE: frozenset[int] = frozenset()


def expected_of(items: Items) -> dict[str, object]:
    """Return what is read without blocks, and the blocks as they are read alone."""
    rest = Options.from_wire(tuple([item for item in items if item[0] not in (23, 27)]))
    found = {name: getattr(rest, name) for name in NAMES}
    for number, name in ((23, "block2"), (27, "block1")):
        values = [value for each, value in items if each == number and len(value) <= 3]
        is_first_good = next((len(value) <= 3 for each, value in items if each == number), False)
        found[name] = Block.from_uint(int.from_bytes(values[0], "big")) if is_first_good else None
    return found


@given(ITEMS)
def test_options_with_blocks_are_read_and_judged_as_any(items: Items) -> None:
    for _ in range(2):  # The second time with what the first one has left behind.
        options = Options.from_wire(items)
        assert {name: getattr(options, name) for name in NAMES} == expected_of(items)
        assert list(options.problems) == problems_of(items)
        options = Options.from_wire(items)
        assert list(options.problems) == problems_of(items)
        assert {name: getattr(options, name) for name in reversed(NAMES)} == expected_of(items)


@given(ITEMS)
def test_options_are_ordinary_with_blocks_and_what_comes_with_them(items: Items) -> None:
    expected = ORDINARY.issuperset(number for number, _ in items) and not problems_of(items)
    assert Options.from_wire(items).is_ordinary is expected


@given(ITEMS, st.sampled_from([NONE, frozenset({12, 60}), frozenset({23, 27})]))
def test_the_key_of_a_body_has_what_the_cache_key_has_less_the_blocks(items: Items, without: frozenset[int]) -> None:
    left_out = without | {23, 27}
    expected = tuple([item for item in items if item[0] not in left_out and not is_no_cache_key(item[0])])
    options = Options.from_wire(items)
    assert options.body_key(without) == expected
    assert options.raw(11) is not None
    assert options.body_key(without) == expected


def test_the_blocks_of_a_body_share_their_key() -> None:
    first, second = Options(uri_path=("a", "b"), block1=Block(1)), Options(uri_path=("a", "b"), block1=Block(2, True))
    assert first.uri_path is second.uri_path
    assert first.body_key(NONE) is second.body_key(NONE)
    assert (first.block1, second.block1, first.block2) == (Block(1), Block(2, True), None)


def test_no_more_is_kept_than_there_is_room_for() -> None:
    for number in range(2 * MAX_STEMS + 10):
        assert Options(uri_query=str(number), block2=Block(1)).block2 == Block(1)
    assert MAX_STEMS < len(_stems) <= 2 * MAX_STEMS
    _stems.clear()
    for queries in (["q"] * 100, ["q" * (MAX_STEM_OCTETS + 1)]):
        many = Options(uri_query=queries, block2=Block(1))
        assert (many.block2, many.uri_query) == (Block(1), tuple(queries))
    assert not len(_stems)

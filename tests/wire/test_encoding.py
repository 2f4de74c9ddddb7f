"""What stands around an option whose value changes: RFC 7252 section 3.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire.encoding import Frame, Items, encode_items

NUMBERS = st.sampled_from([0, 1, 4, 11, 12, 22, 23, 24, 27, 35, 60, 258, 292, 600, 65535])
VALUES = st.binary(max_size=20)


def in_order(items: list[tuple[int, bytes]]) -> Items:
    return tuple(sorted(items, key=lambda item: item[0]))


ITEMS = st.lists(st.tuples(NUMBERS, VALUES), max_size=6).map(in_order)


@given(ITEMS, NUMBERS, st.lists(st.binary(max_size=12), min_size=1, max_size=3))
def test_a_frame_is_filled_as_all_items_are_encoded(items: Items, number: int, values: list[bytes]) -> None:
    frame = Frame.around(number, items)
    others = [item for item in items if item[0] != number]
    for value in values:
        expected = in_order([*others, (number, value)])
        assert frame.fill(value) == (expected, encode_items(expected))


@pytest.mark.parametrize("previous", [0, 1, 11, 23, 300])
def test_items_are_encoded_behind_another_option(previous: int) -> None:
    behind = ((301, b"x"), (700, b""))
    whole = encode_items(((previous, b""), *behind))
    assert whole == encode_items(((previous, b""),)) + encode_items(behind, previous)

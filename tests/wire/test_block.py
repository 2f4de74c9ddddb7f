"""The value of the block options: RFC 7959 section 2.2."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire.block import MAX_BLOCK_NUMBER, Block, block_uint, read_block
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.options import Options

SIZES = (16, 32, 64, 128, 256, 512, 1024)


@pytest.mark.parametrize("exponent", range(7))
def test_the_size_is_two_to_the_power_of_the_exponent_and_four(exponent: int) -> None:
    assert Block(0, False, exponent).size == 2 ** (exponent + 4)


def test_the_reserved_exponent_stands_for_1024_octets() -> None:
    assert Block(0, False, 7).size == 1024


@pytest.mark.parametrize(
    ("value", "block"),
    [
        (0x00, Block(0, False, 0)),
        (0x06, Block(0, False, 6)),
        (0x0E, Block(0, True, 6)),
        (0x33, Block(3, False, 3)),  # RFC 7959 figure 9: 3/0/128
        (0xFFFFFF, Block(MAX_BLOCK_NUMBER, True, 7)),
    ],
)
def test_the_value_has_number_more_and_exponent(value: int, block: Block) -> None:
    assert Block.from_uint(value) == block
    assert block.to_uint() == value


@given(st.integers(0, 0xFFFFFF))
def test_every_value_of_three_octets_survives_reading_and_writing(value: int) -> None:
    assert Block.from_uint(value).to_uint() == value


@given(st.integers(0, MAX_BLOCK_NUMBER), st.booleans(), st.sampled_from(SIZES))
def test_a_block_made_by_size_survives_writing_and_reading(number: int, more: bool, size: int) -> None:
    block = Block.of(number, more, size)
    assert (block.number, block.more, block.size) == (number, more, size)
    assert Block.from_uint(block.to_uint()) == block


@given(st.integers(0, MAX_BLOCK_NUMBER), st.sampled_from(SIZES))
def test_a_block_starts_behind_those_before_it(number: int, size: int) -> None:
    assert Block.of(number, True, size).start == number * size


@given(st.integers(-2000, 70000).filter(lambda size: size not in SIZES))
def test_another_size_is_an_error_that_says_so(size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"not {size}$"):
        Block.of(0, False, size)


@pytest.mark.parametrize("number", [-1, MAX_BLOCK_NUMBER + 1])
def test_a_number_out_of_range_is_an_error_that_says_so(number: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"a block number is 0 to 1048575, not {number}$"):
        Block.of(number, False, 64)
    with pytest.raises(LocalProtocolError, match=f"a block number is 0 to 1048575, not {number}$"):
        Block(number)


def test_the_defaults_are_the_last_block_of_1024_octets() -> None:
    assert Block(2) == Block(2, False, 6)


def test_a_block_prints_as_in_the_rfc() -> None:
    assert str(Block(3, True, 3)) == "3/1/128"


def test_blocks_are_values() -> None:
    assert len({Block(1, True, 2), Block.of(1, True, 64), Block(1, False, 2)}) == 2


def test_an_exponent_out_of_range_never_reaches_the_wire_as_another_block() -> None:
    with pytest.raises(LocalProtocolError):
        Options(block1=Block(0, False, 8))


@pytest.mark.parametrize("exponent", [-1, 8])
def test_an_exponent_out_of_range_is_an_error_that_says_so(exponent: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"a size exponent is 0 to 7, not {exponent}$"):
        Block(0, False, exponent)


def test_more_never_spills_into_the_number() -> None:
    block = Block(1, 2, 3)
    assert block.more is True
    assert Block.from_uint(block.to_uint()) == block


def test_a_value_of_four_octets_is_no_block() -> None:
    with pytest.raises(LocalProtocolError, match=r"not 1048576$"):
        Block.from_uint(0x1000000)


@given(st.binary(max_size=3))
def test_octets_are_read_as_their_number(octets: bytes) -> None:
    for _ in range(2):  # The second time from what is kept.
        assert read_block(octets) == Block.from_uint(int.from_bytes(octets, "big"))


@given(st.integers(0, MAX_BLOCK_NUMBER), st.booleans(), st.sampled_from(SIZES))
def test_the_value_of_a_block_is_that_of_its_place(number: int, more: bool, size: int) -> None:
    assert block_uint(number * size, more, size) == Block.of(number, more, size).to_uint()


@given(st.integers(0, MAX_BLOCK_NUMBER), st.integers(0, 7))
def test_a_block_starts_behind_so_many_of_its_size(number: int, exponent: int) -> None:
    block = Block(number, False, exponent)
    assert block.start == number * block.size
    assert attrs.evolve(block, number=0).start == 0

"""Random octets in small pieces."""

from __future__ import annotations

import random

from trio_coap.messaging.randomness import RANDOM_BLOCK, RandomOctets


def test_no_octet_is_given_twice() -> None:
    octets = RandomOctets(random.Random(1).randbytes)
    taken = b"".join([octets.take(4) for _ in range(RANDOM_BLOCK // 2)])
    source = random.Random(1)
    assert taken == source.randbytes(RANDOM_BLOCK) + source.randbytes(RANDOM_BLOCK)


def test_what_is_left_of_a_block_is_not_enough() -> None:
    octets = RandomOctets(random.Random(1).randbytes)
    assert len(octets.take(RANDOM_BLOCK - 1)) == RANDOM_BLOCK - 1
    source = random.Random(1)
    source.randbytes(RANDOM_BLOCK)
    assert octets.take(4) == source.randbytes(RANDOM_BLOCK)[:4]

"""Tables of what was found out a moment ago."""

from __future__ import annotations

from trio_coap.wire.recent import Recent


def filled(size: int, count: int) -> Recent[int, str]:
    table: Recent[int, str] = Recent(size)
    for key in range(count):
        table.put(key, str(key))
    return table


def test_what_is_there_is_found() -> None:
    table = filled(4, 3)
    assert [table.find(key) for key in (0, 2, 3)] == ["0", "2", None]


def test_the_size_is_bounded() -> None:
    table = filled(4, 1000)
    assert len(table) <= 8
    assert len(table.young) <= 4


def test_the_last_ones_are_there() -> None:
    table = filled(4, 1000)
    assert [table.find(key) for key in range(996, 1000)] == ["996", "997", "998", "999"]


def test_what_is_looked_up_again_and_again_stays() -> None:
    table = filled(4, 1)
    for key in range(1, 100):
        assert table.find(0) == "0"
        table.put(key, "")
    assert table.find(1) is None


def test_clearing_forgets_both_halves() -> None:
    table = filled(4, 6)
    table.clear()
    assert (len(table), table.find(0), table.find(5)) == (0, None, None)

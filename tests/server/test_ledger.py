"""The table that remotes make grow."""

from __future__ import annotations

from collections import Counter

import pytest

from trio_coap.server.ledger import Ledger, LedgerLimits

LIMITS = LedgerLimits(per_remote=2, octets_per_remote=100, in_all=3, octets_in_all=150)


@pytest.fixture
def dropped() -> list[str]:
    return []


@pytest.fixture
def counted() -> Counter[str]:
    return Counter()


@pytest.fixture
def ledger(dropped: list[str], counted: Counter[str]) -> Ledger[str]:
    return Ledger(LIMITS, 10, dropped.append, counted)


@pytest.mark.parametrize(
    ("entries", "remote", "limit"),
    [
        ([("a", 1), ("a", 1)], "a", "max_bodies_per_remote"),
        ([("a", 90)], "a", "max_octets_per_remote"),
        ([("a", 1), ("b", 1), ("c", 1)], "d", "max_bodies"),
        ([("a", 70), ("b", 70)], "c", "max_octets"),
    ],
)
def test_the_limit_that_is_reached_is_named(
    entries: list[tuple[str, int]], remote: str, limit: str, ledger: Ledger[str]
) -> None:
    for number, (owner, octets) in enumerate(entries):
        ledger.put((owner, number), "value", octets, 0)
    excess = ledger.find_excess(remote, 20, new=True)
    assert excess is not None
    assert excess.limit == limit


def test_the_oldest_makes_room_and_is_counted(ledger: Ledger[str], dropped: list[str], counted: Counter[str]) -> None:
    for number in range(3):
        assert ledger.put_evicting(("a", number), str(number), 10, now=number)
    assert (dropped, counted) == (["0"], {"max_bodies_per_remote": 1})


def test_who_has_too_much_makes_room_of_its_own(ledger: Ledger[str], dropped: list[str]) -> None:
    ledger.put(("b", 1), "theirs", 10, 0)
    for number in range(3):
        assert ledger.put_evicting(("a", number), str(number), 10, now=1 + number)
    assert (dropped, ledger.values()) == (["0"], ["theirs", "1", "2"])


def test_who_has_nothing_takes_the_room_of_the_oldest(ledger: Ledger[str], dropped: list[str]) -> None:
    for number, remote in enumerate("abcd"):
        assert ledger.put_evicting((remote, 1), remote, 10, now=number)
    assert (dropped, ledger.values()) == (["a"], ["b", "c", "d"])


def test_what_can_never_fit_takes_nothing_from_others(
    ledger: Ledger[str], dropped: list[str], counted: Counter[str]
) -> None:
    ledger.put(("a", 1), "mine", 10, 0)
    ledger.put(("b", 1), "theirs", 10, 0)
    assert not ledger.put_evicting(("a", 2), "large", 101, 0)
    assert (dropped, ledger.values(), counted) == (["large"], ["mine", "theirs"], {"max_octets_per_remote": 1})


def test_what_is_idle_comes_oldest_first_and_may_be_dropped_meanwhile(ledger: Ledger[str]) -> None:
    for number, remote in enumerate("aba"):
        ledger.put((remote, number), str(number), 10, now=number)
    assert list(ledger.idle(5, 6.5)) == [("a", 0), ("b", 1)]
    assert list(ledger.idle(5, 7, "a")) == [("a", 0), ("a", 2)]
    for key in ledger.idle(5, 7):
        ledger.discard(key)
    assert (len(ledger), ledger.octets) == (0, 0)


def test_what_is_not_used_for_a_lifetime_goes(ledger: Ledger[str], dropped: list[str]) -> None:
    ledger.put(("a", 1), "old", 10, 0)
    ledger.put(("a", 2), "young", 10, 5)
    assert ledger.get(("a", 1), 9) == "old"
    assert ledger.get(("a", 2), 15) is None
    assert (dropped, ledger.values()) == (["young"], ["old"])


def test_what_was_used_last_is_kept_longest(ledger: Ledger[str], dropped: list[str]) -> None:
    for number, remote in enumerate("abc"):
        ledger.put((remote, 1), remote, 10, now=number)
    for remote in "caa":
        assert ledger.get((remote, 1), 3) == remote
    ledger.discard(("a", 1))
    assert ledger.get(("c", 1), 3) == "c"
    ledger.put(("a", 1), "a", 10, now=4)
    assert ledger.values() == ["b", "c", "a"]
    assert ledger.put_evicting(("d", 1), "d", 10, now=5)
    assert dropped == ["a", "b"]


def test_a_lifetime_begins_anew_in_a_table_that_was_emptied(ledger: Ledger[str], dropped: list[str]) -> None:
    lifetime = ledger._lifetime
    for begun_at in (0.0, 10 * lifetime):
        ledger.put(("a", 1), "a1", 1, begun_at)
        ledger.put(("a", 2), "a2", 1, begun_at + 1)
        assert ledger.get(("a", 1), begun_at + lifetime - 1) == "a1"
        assert ledger.get(("a", 2), begun_at + lifetime + 1) is None
        assert ledger.get(("a", 1), begun_at + 2 * lifetime - 1) is None
    assert dropped == ["a2", "a1"] * 2

"""Observers by the parameters of their paths."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.server.matching import Matching

values = st.one_of(
    st.integers(0, 2), st.sampled_from(["a", "b", b"a", True, 1.0, 2.5]), st.tuples(st.sampled_from(["a", "b"]))
)
parameters = st.dictionaries(
    st.sampled_from(["x", "y", "z"]), st.one_of(values, st.lists(values, max_size=1)), max_size=3
)
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 5), parameters), max_size=30)


@given(steps, st.lists(parameters, min_size=1, max_size=5))
def test_who_matches_is_found_whatever_the_way(
    steps: list[tuple[bool, int, dict[str, object]]], asked: list[dict[str, object]]
) -> None:
    matching = Matching[int]()
    model: dict[int, dict[str, object]] = {}
    for position, (is_added, one, known) in enumerate(steps):
        model.pop(one, None)
        if is_added:
            matching.add(one, known)
            model[one] = known
        else:
            matching.discard(one)
        wanted = asked[position % len(asked)]  # Between changes: what is made for a question is kept right.
        expected = [one for one, known in model.items() if all(n in known and known[n] == wanted[n] for n in wanted)]
        assert sorted(matching.find(wanted)) == sorted(expected)
        assert (len(matching), list(matching)) == (len(model), list(model))


class Anything:
    """Equal to all, with a hash of its own."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("value", [Anything(), 5.0])
def test_a_value_counts_if_it_is_equal_whatever_its_hash(value: object) -> None:
    matching = Matching[str]()
    matching.add("one", {"number": 5})
    assert matching.find({"number": value}) == ["one"]


def test_nothing_is_left_of_who_has_gone() -> None:
    matching = Matching[int]()
    for number in range(10):
        matching.add(number, {"x": number % 3, "y": number})
    assert sorted(matching.find({"x": 1})) == [1, 4, 7]
    (group,) = matching._groups.values()
    for number in range(10):
        matching.discard(number)
    assert (matching._groups, matching._keys, group.by_all, group._by_one) == ({}, {}, {}, {})


@pytest.mark.parametrize("wanted", [{"floor": 7, "lamp": 7}, {"lamp": 7}])
def test_many_other_paths_cost_nothing(wanted: dict[str, object]) -> None:
    matching = Matching[int]()
    for number in range(30_000):
        matching.add(number, {"floor": number % 10, "lamp": number})
    matching.find(wanted)
    started_at = time.perf_counter()
    for _ in range(100):
        assert matching.find(wanted) == [7]
    # A walk over all takes longer than that once, on any machine.
    assert time.perf_counter() - started_at < 0.2

"""What is wrong with options, and what must be rejected: RFC 7252 section 5.4."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.wire.definitions import (
    DEFINITIONS,
)
from trio_coap.wire.options import OptionProblem, Options

NUMBERS = st.one_of(st.sampled_from(sorted(DEFINITIONS)), st.integers(0, 65535))
ITEMS = st.lists(st.tuples(NUMBERS, st.binary(max_size=20)), max_size=12).map(
    lambda items: tuple(sorted(items, key=lambda item: item[0]))
)


def wire(*items: tuple[int, bytes]) -> Options:
    return Options.from_wire(items)


def fault_at(items: tuple[tuple[int, bytes], ...], place: int) -> str | None:
    """What section 5.4 says of one occurrence, by itself."""
    number, value = items[place]
    if number not in DEFINITIONS:
        return "is unknown"
    if not DEFINITIONS[number].is_repeatable and number in {before for before, _ in items[:place]}:
        return "is given more than once"
    return DEFINITIONS[number].fault_of(value)


def problems_of(items: tuple[tuple[int, bytes], ...]) -> list[OptionProblem]:
    faults = [(number, fault_at(items, place)) for place, (number, _) in enumerate(items)]
    return [OptionProblem(number, fault, number % 2 == 1) for number, fault in faults if fault is not None]


def first_critical(items: tuple[tuple[int, bytes], ...], understood: frozenset[int]) -> OptionProblem | None:
    for place, (number, _) in enumerate(items):
        fault = fault_at(items, place)
        if number % 2 == 1 and number not in understood:
            unknown = number not in DEFINITIONS
            return OptionProblem(number, "is unknown" if unknown else "is critical and not supported here", True)
        if number % 2 == 1 and fault is not None and number in DEFINITIONS:
            return OptionProblem(number, fault, True)
    return None


def test_good_options_have_no_problems() -> None:
    assert Options(uri_path=("a", "b"), max_age=5, if_match=(b"", b"x")).problems == ()
    assert Options().problems == ()


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ((65001, b""), OptionProblem(65001, "is unknown", True)),
        ((65000, b""), OptionProblem(65000, "is unknown", False)),
        ((11, b"\xff"), OptionProblem(11, "is not UTF-8", True)),
        ((3, b""), OptionProblem(3, "has 0 octets, allowed: 1 to 255", True)),
        ((12, b"\0\0\0"), OptionProblem(12, "has 3 octets, allowed: 0 to 2", False)),
    ],
)
def test_a_problem_names_option_and_reason(item: tuple[int, bytes], problem: OptionProblem) -> None:
    assert wire(item).problems == (problem,)


@pytest.mark.parametrize(("number", "critical"), [(14, False), (17, True)])
def test_a_surplus_occurrence_is_a_problem_as_an_unknown_option_is(number: int, critical: bool) -> None:
    assert wire((number, b""), (number, b"")).problems == (OptionProblem(number, "is given more than once", critical),)


def test_each_surplus_occurrence_is_a_problem_of_its_own() -> None:
    assert len(wire((14, b""), (14, b""), (14, b"12345")).problems) == 2


def test_a_repeatable_option_given_twice_is_no_problem() -> None:
    assert wire((11, b""), (11, b"")).problems == ()


def test_problems_are_in_the_order_of_the_wire() -> None:
    options = wire((2, b""), (14, b"12345"), (14, b""), (17, b""), (65001, b""))
    assert [problem.number for problem in options.problems] == [2, 14, 14, 65001]
    assert options.problems is options.problems


def test_a_problem_prints_number_name_and_reason() -> None:
    assert str(OptionProblem(11, "is not UTF-8", True)) == "option 11 (Uri-Path) is not UTF-8"
    assert str(OptionProblem(65001, "is unknown", True)) == "option 65001 is unknown"


@given(ITEMS)
def test_an_occurrence_counts_or_is_a_problem(items: tuple[tuple[int, bytes], ...]) -> None:
    options = wire(*items)
    unknown = sum(number not in DEFINITIONS for number, _ in items)
    counting = sum(len(options.raw(number)) for number in {number for number, _ in items})
    assert counting + len(options.problems) == len(items) + unknown


PLAIN = {3, 7, 11, 12, 15, 17}
PLAIN_VALUES = st.sampled_from([b"", b"a", b"60", b"..", b"\xff", "\u00fc".encode(), bytes(3)])
NEARLY_PLAIN = st.lists(st.tuples(st.sampled_from([*sorted(PLAIN), 14, 65000]), PLAIN_VALUES), max_size=5).map(
    lambda items: tuple(sorted(items, key=lambda item: item[0]))
)


@given(NEARLY_PLAIN)
def test_options_are_plain_where_all_are_of_the_plain_ones_and_none_is_a_problem(
    items: tuple[tuple[int, bytes], ...],
) -> None:
    assert wire(*items).is_plain is (PLAIN.issuperset(number for number, _ in items) and not problems_of(items))


@given(st.one_of(ITEMS, NEARLY_PLAIN))
def test_problems_and_what_counts_do_not_depend_on_what_is_asked_first(items: tuple[tuple[int, bytes], ...]) -> None:
    options = wire(*items)
    counting = {number: options.raw(number) for number, _ in items}
    assert list(options.problems) == problems_of(items)
    options = wire(*items)
    assert list(options.problems) == problems_of(items)
    assert {number: options.raw(number) for number, _ in items} == counting


@given(st.one_of(ITEMS, NEARLY_PLAIN), st.frozensets(NUMBERS))
def test_the_first_critical_problem_is_that_of_the_definition(
    items: tuple[tuple[int, bytes], ...], numbers: frozenset[int]
) -> None:
    for understood in (numbers, numbers | PLAIN, numbers | {number for number, _ in items}):
        options = wire(*items)
        found = options.find_critical_problem(understood)
        assert found == first_critical(items, understood)


def test_elective_problems_are_not_critical() -> None:
    assert wire((14, b"12345"), (14, b""), (65000, b"")).find_critical_problem(()) is None


def test_the_first_critical_problem_is_found() -> None:
    options = wire((3, b""), (14, b"12345"), (65001, b""))
    assert options.find_critical_problem({3, 65001}) == options.problems[0]


def test_a_critical_option_that_the_caller_does_not_process_is_a_problem() -> None:
    options = Options(if_match=b"x", uri_path="a", max_age=5)
    assert options.find_critical_problem({11}) == OptionProblem(1, "is critical and not supported here", True)
    assert options.find_critical_problem({1, 11}) is None


def test_the_first_critical_problem_is_the_first_on_the_wire_whatever_its_kind() -> None:
    options = wire((1, b"x"), (3, b""), (65001, b""))
    assert options.find_critical_problem({3}) == OptionProblem(1, "is critical and not supported here", True)
    assert options.find_critical_problem({1, 3}) == OptionProblem(3, "has 0 octets, allowed: 1 to 255", True)


def test_an_unknown_critical_option_is_a_problem() -> None:
    assert wire((65001, b"")).find_critical_problem({11}) == OptionProblem(65001, "is unknown", True)


def test_a_number_that_the_caller_processes_needs_no_definition() -> None:
    assert wire((65001, b"x"), (65001, bytes(300))).find_critical_problem({65001}) is None


def test_a_surplus_occurrence_of_a_critical_option_is_a_critical_problem() -> None:
    options = wire((11, b"a"), (11, b"b"), (17, b""), (17, b""))
    assert options.find_critical_problem({11, 17}) == OptionProblem(17, "is given more than once", True)


def test_an_elective_option_need_not_be_processed() -> None:
    assert Options(max_age=5, etag=b"x", size1=3).find_critical_problem(()) is None


def test_no_options_are_no_problem() -> None:
    assert Options().find_critical_problem(()) is None


def test_a_value_of_the_edhoc_option_is_ignored() -> None:
    options = wire((21, b"x"))
    assert options.edhoc is True
    assert options.problems == ()
    assert options.find_critical_problem({21}) is None
    assert repr(options) == "Options(edhoc=True)"


def test_a_second_edhoc_option_is_still_a_problem() -> None:
    assert wire((21, b""), (21, b"")).find_critical_problem({21}) == OptionProblem(21, "is given more than once", True)


@pytest.mark.parametrize("number", [8, 11])
@pytest.mark.parametrize("segment", [b".", b".."])
def test_a_dot_segment_is_a_problem(number: int, segment: bytes) -> None:
    """Sections 5.10.1 and 5.10.7: no path option may be one."""
    options = wire((number, segment))
    assert [problem.reason for problem in options.problems] == [f"must not be {segment.decode()!r}"]
    assert options.uri_path == options.location_path == ()
    assert (options.find_critical_problem({8, 11}) is not None) is (number == 11)


def test_thousands_of_options_are_looked_up_and_printed_in_one_pass() -> None:
    """A peer may send as many as fit into a datagram; counting steps shows that the cost is linear."""
    steps = {}
    for count in (1_000, 10_000):
        options = wire(*[(number, b"") for number in range(20_000, 20_000 + count)])
        calls = 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count_call)
        try:
            assert options.uri_path == ()
            text = repr(options)
        finally:
            sys.setprofile(None)
        steps[count] = calls
        assert text.endswith(f"and {count - 32} more)")
        assert len(text) < 1_000
    assert steps[10_000] < 11 * steps[1_000]

"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re

import pytest

from trio_coap.wire.patterns import lazy_pattern


def test_a_lazy_pattern_is_like_one_that_is_compiled() -> None:
    pattern = lazy_pattern("(a)(B*)")
    match = pattern.fullmatch("aBB")
    assert match is not None
    assert match.groups() == ("a", "BB")
    assert (pattern.pattern, pattern.groups, pattern.sub("x", "aBc")) == ("(a)(B*)", 2, "xc")


def test_a_lazy_pattern_looks_a_method_up_once() -> None:
    pattern = lazy_pattern("a")
    assert pattern.search is pattern.search


def test_a_lazy_pattern_is_compiled_when_it_is_used() -> None:
    pattern = lazy_pattern("(")
    with pytest.raises(re.error):
        pattern.match("")


def test_a_lazy_pattern_has_its_flags() -> None:
    assert lazy_pattern("A.", re.IGNORECASE | re.DOTALL).fullmatch("a\n")

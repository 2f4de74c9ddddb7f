"""No test of the ETSI list is missing in silence."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from tests.plugtest.etsi import NOT_APPLICABLE, TESTS

FOLDER = Path(__file__).parent
RANGES = {"CORE": 31, "LINK": 12, "BLOCK": 6, "OBS": 13}
"""The highest number of each part."""


def identifiers_tested() -> Counter[str]:
    found: Counter[str] = Counter()
    for path in FOLDER.glob("test_td_coap_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                match = re.match(r"test_(td_coap_[a-z]+_\d\d)_[a-z]", node.name)
                assert match is not None, f"{node.name} does not name a test of the list"
                assert ast.get_docstring(node), f"{node.name} does not say its steps"
                found[match[1].upper()] += 1
    return found


def test_each_test_of_the_list_is_there_once() -> None:
    assert identifiers_tested() == Counter(TESTS.keys())


def test_each_number_is_tested_or_has_a_reason() -> None:
    numbers = {f"TD_COAP_{part}_{number:02}" for part, last in RANGES.items() for number in range(1, last + 1)}
    assert TESTS.keys() | NOT_APPLICABLE.keys() == numbers
    assert not TESTS.keys() & NOT_APPLICABLE.keys()

"""The examples of the chapter on serving do what the page says."""

from __future__ import annotations

import pytest

from tests.test_tutorial import examples, execute

EXAMPLES = examples("serving.md")


def test_the_page_has_its_examples() -> None:
    assert [bool(output) for _, output in EXAMPLES] == [True, True, True]


@pytest.mark.parametrize(("source", "output"), EXAMPLES, ids=["addresses", "freshness", "draining"])
async def test_an_example_prints_what_the_page_says(
    source: str, output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in execute(source, monkeypatch):
        await call[0](*call[1:])
    assert capsys.readouterr().out == output

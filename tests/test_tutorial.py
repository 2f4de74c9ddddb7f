"""The examples of the tutorial, and of the first page, do what the pages say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_coap import Server, serve
from trio_coap.wire import definitions

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLE = re.compile(r"```python\n(.*?)```(?:\s*(?:It prints)?\s*```text\n(.*?)```)?", re.DOTALL)


def examples(page: str) -> list[tuple[str, str]]:
    """Return the examples of a page, each with what it prints, or the empty string."""
    return EXAMPLE.findall((DOCS / page).read_text(encoding="utf-8"))


class RecordedRun:
    """Stands in for ``trio.run``: what the example would run is kept for the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *call: Any) -> None:
        self.calls.append(call)


def execute(source: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Run an example up to its ``trio.run``, and return what that was given."""
    recorded = RecordedRun()
    with monkeypatch.context() as patch:
        patch.setattr(trio, "run", recorded)
        exec(compile(source, "tutorial.md", "exec"), {})
    return recorded.calls


@pytest.fixture(autouse=True)
def _restored_table() -> Iterator[None]:
    """Forget the option that the tutorial registers."""
    numbers, names = dict(definitions.DEFINITIONS), dict(definitions._BY_NAME)
    yield
    for table, before in ((definitions.DEFINITIONS, numbers), (definitions._BY_NAME, names)):
        table.clear()
        table.update(before)  # type: ignore[arg-type]
    for forget in definitions.WHEN_REGISTERED:
        forget()


def test_each_example_but_the_first_says_what_it_prints() -> None:
    has_output = [bool(output) for _, output in examples("tutorial.md")]
    assert len(has_output) > 8
    assert not has_output[0]
    assert all(has_output[1:])


async def test_the_examples_print_what_the_tutorial_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (server_source, _), *others = examples("tutorial.md")
    ((run_function, site),) = execute(server_source, monkeypatch)
    assert run_function is serve
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, site, "::1", 0))
        for source, output in others:
            # The examples have the default port, which may be taken where the tests run.
            for call in execute(source.replace("coap://[::1]", server.uri), monkeypatch):
                await call[0](*call[1:])
            assert capsys.readouterr().out == output
        nursery.cancel_scope.cancel()


async def test_the_examples_of_the_page_on_caching_print_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((source, output),) = examples("caching.md")
    ((main,),) = execute(source, monkeypatch)
    await main()
    assert capsys.readouterr().out == output


def test_the_first_page_shows_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    ((source, _),) = examples("index.md")
    ((main,),) = execute(source, monkeypatch)
    assert main.__name__ == "main"
